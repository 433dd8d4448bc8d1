#include "coeus/comm/process_group.h"

#include <ATen/record_function.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/types.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <algorithm>
#include <exception>
#include <mutex>
#include <numeric>

#include "coeus/base/error.h"
#include "coeus/base/trace_log.h"
#include "coeus/comm/exchange_trace.h"
#include "coeus/comm/peer_lost_error.h"

namespace coeus {

namespace {

/// Below so many values, every rank gets all ranks' values and reduces them itself: one exchange
/// instead of two.
constexpr int64_t kReducedByEveryRank = 4096;

/// Hands an exchange to c10d, whose flight recorder keeps a table of all groups of the process
/// without a lock: groups of different threads must not start exchanges at once.
template <class Start>
c10::intrusive_ptr<c10d::Work> enqueued(Start start) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  // c10d puts an exchange among the ranges of this thread, which it overlaps: see ExchangeTrace.
  const at::DisableRecordFunctionGuard no_ranges;
  return start();
}

/// Whether the current stream of a GPU has come to where it is now.
std::function<bool()> once_reached(const at::Device& device) {
  const auto event = std::make_shared<c10::Event>(device.type());
  event->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  return [event] { return event->query(); };
}

int64_t sum_of(const std::vector<int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

std::vector<int64_t> with_rows(const at::Tensor& x, int64_t rows) {
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes[0] = rows;
  return sizes;
}

}  // namespace

Pending::Pending(c10::intrusive_ptr<c10d::Work> work, std::vector<at::Tensor> kept,
                 std::function<at::Tensor()> finish)
    : work_(std::move(work)), kept_(std::move(kept)), finish_(std::move(finish)) {}

Pending::Pending(at::Tensor result) : finish_([result = std::move(result)] { return result; }) {}

Pending::Pending() = default;
Pending::~Pending() = default;
Pending::Pending(Pending&&) noexcept = default;
Pending& Pending::operator=(Pending&&) noexcept = default;

at::Tensor Pending::wait() {
  COEUS_ASSERT(is_started());
  if (work_) {
    scope_.wait();
    at::RecordFunction range(at::RecordScope::USER_SCOPE);
    if (range.isActive() && trace_) range.before("wait for " + trace_->name());
    try {
      work_->wait();
    } catch (const std::exception& error) {
      throw PeerLostError(fmt::format("an exchange with other ranks failed: {}", error.what()));
    }
    work_.reset();
    if (device_)
      scope_.end_when(once_reached(*device_));
    else
      scope_.end();
    if (trace_) trace_->arrived();
  }
  at::Tensor result = finish_();
  finish_ = nullptr;
  kept_.clear();
  return result;
}

ProcessGroup::ProcessGroup() : name_("alone"), ranks_{0}, rank_(0) {}

ProcessGroup::ProcessGroup(std::string name, std::vector<int64_t> ranks, int64_t rank,
                           GroupBackends backends, CollectiveLog* log)
    : name_(std::move(name)),
      ranks_(std::move(ranks)),
      rank_(rank),
      backends_(std::move(backends)),
      log_(log) {
  COEUS_ASSERT(rank_ >= 0 && rank_ < size() && (size() == 1 || backends_.cpu));
  if (log_ != nullptr) log_group_ = log_->add_group(name_, ranks_);
}

ProcessGroup::~ProcessGroup() {
  // After an error the other ranks may be gone, and this would wait for them.
  if (std::uncaught_exceptions() > 0) return;
  for (const auto& backend : {backends_.device, backends_.up, backends_.down})
    if (backend) backend->shutdown();
}

c10d::Backend& ProcessGroup::backend_of(const at::Tensor& x) const {
  const auto& backend = x.is_cpu() ? backends_.cpu : backends_.device;
  COEUS_ASSERT(backend);
  return *backend;
}

c10d::Backend& ProcessGroup::backend_of(const at::Tensor& x, int64_t from, int64_t to) const {
  const auto& backend = x.is_cpu() ? backends_.cpu : from < to ? backends_.up : backends_.down;
  COEUS_ASSERT(backend);
  return *backend;
}

template <class Start>
Pending ProcessGroup::start(const char* kind, const char* what, const at::Tensor& x, Start start,
                            std::vector<at::Tensor> kept, std::function<at::Tensor()> finish,
                            const std::optional<CollectiveLog::Route>& route) {
  const auto bytes = static_cast<int64_t>(x.nbytes());
  CollectiveLog::Scope scope;
  if (log_ != nullptr)
    scope = route ? log_->begin(kind, what, log_group_, bytes, *route)
                  : log_->begin(kind, what, log_group_, bytes);
  try {
    Pending pending(enqueued(start), std::move(kept), std::move(finish));
    pending.scope_ = std::move(scope);
    if (!x.is_cpu()) pending.device_ = x.device();
    // When a GPU's exchange begins and ends, only its own profiler knows.
    if (TraceLog::is_on() && x.is_cpu())
      pending.trace_ = ExchangeTrace::of(*pending.work_, kind, what, name_,
                                         pending.kept_.empty() ? 0 : pending.kept_[0].nbytes());
    return pending;
  } catch (const std::exception& error) {
    throw PeerLostError(
        fmt::format("{} of {} over {} could not begin: {}", kind, what, name_, error.what()));
  }
}

at::Tensor ProcessGroup::reduced_pairwise(const at::Tensor& parts,
                                          ReduceOperation operation) const {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> values = parts.unbind(0);
  while (values.size() > 1) {
    std::vector<at::Tensor> halves;
    for (size_t i = 0; i + 1 < values.size(); i += 2)
      halves.push_back(operation == ReduceOperation::kSum ? values[i] + values[i + 1]
                                                          : at::maximum(values[i], values[i + 1]));
    if (values.size() % 2 == 1) halves.push_back(values.back());
    values = std::move(halves);
  }
  return values.front();
}

at::Tensor ProcessGroup::all_reduce(const at::Tensor& x, const char* what,
                                    ReduceOperation operation) {
  return all_reduce_async(x, what, operation).wait();
}

Pending ProcessGroup::all_reduce_async(const at::Tensor& x_in, const char* what,
                                       ReduceOperation operation) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = x_in.detach();
  if (size() == 1) return Pending(x.clone());
  if (!x.is_cpu()) {
    std::vector<at::Tensor> sums = {x.clone(at::MemoryFormat::Contiguous)};
    c10d::AllreduceOptions options;
    options.reduceOp =
        operation == ReduceOperation::kSum ? c10d::ReduceOp::SUM : c10d::ReduceOp::MAX;
    return start(
        "all_reduce", what, x, [&] { return backend_of(x).allreduce(sums, options); }, sums,
        [sum = sums[0]] { return sum; });
  }
  const std::vector<int64_t> shape = x.sizes().vec();
  const int64_t n = x.numel();
  if (n <= kReducedByEveryRank) {
    at::Tensor in = x.reshape({1, n}).contiguous();
    at::Tensor all = at::empty({size(), n}, x.options());
    return start(
        "all_reduce", what, x, [&] { return backend_of(in)._allgather_base(all, in); }, {in, all},
        [this, all, shape, operation] { return reduced_pairwise(all, operation).view(shape); });
  }
  // Each rank reduces its part, then all get all parts.
  const int64_t part = (n + size() - 1) / size();
  at::Tensor in = at::constant_pad_nd(x.reshape({n}), {0, part * size() - n}).contiguous();
  at::Tensor all = at::empty({size() * part}, x.options());
  std::vector<int64_t> counts(size(), part);
  return start(
      "all_reduce", what, x, [&] { return backend_of(in).alltoall_base(all, in, counts, counts); },
      {in, all},
      [this, all, shape, operation, n, part, what] {
        const at::Tensor own = reduced_pairwise(all.view({size(), part}), operation);
        return all_gather(own, what).narrow(0, 0, n).view(shape);
      });
}

at::Tensor ProcessGroup::all_gather(const at::Tensor& x, const char* what) {
  return all_gather_async(x, what).wait();
}

Pending ProcessGroup::all_gather_async(const at::Tensor& x, const char* what) {
  const at::NoGradGuard no_grad;
  if (size() == 1) return Pending(x.detach().clone());
  at::Tensor in = x.detach().contiguous();
  at::Tensor all = at::empty(with_rows(in, in.size(0) * size()), in.options());
  if (all.numel() == 0) return Pending(all);
  return start(
      "all_gather", what, all, [&] { return backend_of(in)._allgather_base(all, in); }, {in},
      [all] { return all; });
}

at::Tensor ProcessGroup::all_gather_rows(const at::Tensor& x, const std::vector<int64_t>& rows,
                                         const char* what) {
  const at::NoGradGuard no_grad;
  COEUS_ASSERT(static_cast<int64_t>(rows.size()) == size() && x.size(0) == rows[rank_]);
  const int64_t most = *std::max_element(rows.begin(), rows.end());
  if (std::all_of(rows.begin(), rows.end(), [&](int64_t r) { return r == most; }))
    return all_gather(x, what);
  at::Tensor in = at::zeros(with_rows(x, most), x.options());
  in.narrow(0, 0, x.size(0)).copy_(x.detach());
  const at::Tensor padded = all_gather(in, what);
  std::vector<at::Tensor> parts;
  for (int64_t r = 0; r < size(); ++r) parts.push_back(padded.narrow(0, r * most, rows[r]));
  return at::cat(parts);
}

at::Tensor ProcessGroup::reduce_scatter(const at::Tensor& x, const char* what) {
  return reduce_scatter_async(x, what).wait();
}

Pending ProcessGroup::reduce_scatter_async(const at::Tensor& x, const char* what) {
  const at::NoGradGuard no_grad;
  if (size() == 1) return Pending(x.detach().clone());
  COEUS_ASSERT(x.size(0) % size() == 0);
  at::Tensor in = x.detach().contiguous();
  const int64_t n = in.size(0) / size();
  if (in.numel() == 0) return Pending(at::empty(with_rows(in, n), in.options()));
  if (!in.is_cpu()) {
    at::Tensor sum = at::empty(with_rows(in, n), in.options());
    return start(
        "reduce_scatter", what, in, [&] { return backend_of(in)._reduce_scatter_base(sum, in); },
        {in, sum}, [sum] { return sum; });
  }
  at::Tensor parts = at::empty_like(in);
  std::vector<int64_t> shape = with_rows(in, n);
  shape.insert(shape.begin(), size());
  std::vector<int64_t> counts(size(), n);
  return start(
      "reduce_scatter", what, in,
      [&] { return backend_of(in).alltoall_base(parts, in, counts, counts); }, {in, parts},
      [this, parts, shape] { return reduced_pairwise(parts.view(shape), ReduceOperation::kSum); });
}

at::Tensor ProcessGroup::reduce_scatter_rows(const at::Tensor& x, const std::vector<int64_t>& rows,
                                             const char* what) {
  const at::NoGradGuard no_grad;
  COEUS_ASSERT(static_cast<int64_t>(rows.size()) == size() && x.size(0) == sum_of(rows));
  if (size() == 1) return x.detach().clone();
  const int64_t own = rows[rank_];
  const std::vector<int64_t> received(size(), own);
  const at::Tensor parts = all_to_all(x, rows, received, what);
  std::vector<int64_t> shape = with_rows(x, own);
  shape.insert(shape.begin(), size());
  return reduced_pairwise(parts.view(shape), ReduceOperation::kSum);
}

at::Tensor ProcessGroup::all_to_all(const at::Tensor& x, const std::vector<int64_t>& sent,
                                    const std::vector<int64_t>& received, const char* what) {
  return all_to_all_async(x, sent, received, what).wait();
}

Pending ProcessGroup::all_to_all_async(const at::Tensor& x, const std::vector<int64_t>& sent,
                                       const std::vector<int64_t>& received, const char* what) {
  const at::NoGradGuard no_grad;
  COEUS_ASSERT(sum_of(sent) == x.size(0) && static_cast<int64_t>(sent.size()) == size() &&
               static_cast<int64_t>(received.size()) == size());
  if (size() == 1) return Pending(x.detach().clone());
  at::Tensor in = x.detach().contiguous();
  at::Tensor out = at::empty(with_rows(in, sum_of(received)), in.options());
  std::vector<int64_t> out_counts = received, in_counts = sent;
  return start(
      "all_to_all", what, in,
      [&] { return backend_of(in).alltoall_base(out, in, out_counts, in_counts); }, {in},
      [out] { return out; });
}

at::Tensor ProcessGroup::broadcast(const at::Tensor& x, int64_t root, const char* what) {
  const at::NoGradGuard no_grad;
  at::Tensor out = x.detach().contiguous().clone();
  if (size() == 1) return out;
  std::vector<at::Tensor> tensors = {out};
  c10d::BroadcastOptions options;
  options.rootRank = root;
  return start(
             "broadcast", what, out, [&] { return backend_of(out).broadcast(tensors, options); },
             {}, [out] { return out; })
      .wait();
}

std::vector<std::string> ProcessGroup::all_gather_text(const std::string& text, const char* what) {
  const at::TensorOptions bytes = at::TensorOptions().dtype(at::kByte);
  const at::Tensor length = at::full({1}, static_cast<int64_t>(text.size()), at::kLong);
  const at::Tensor lengths = all_gather(length, what);
  std::vector<int64_t> rows(lengths.const_data_ptr<int64_t>(),
                            lengths.const_data_ptr<int64_t>() + size());
  at::Tensor own = at::empty({static_cast<int64_t>(text.size())}, bytes);
  std::copy(text.begin(), text.end(), own.mutable_data_ptr<uint8_t>());
  const at::Tensor all = all_gather_rows(own, rows, what);
  std::vector<std::string> texts;
  const auto* at = reinterpret_cast<const char*>(all.const_data_ptr<uint8_t>());
  for (const int64_t n : rows) {
    texts.emplace_back(at, static_cast<size_t>(n));
    at += n;
  }
  return texts;
}

void ProcessGroup::barrier(const char* what) {
  if (size() > 1) all_reduce(at::zeros({1}), what);
}

Pending ProcessGroup::send_async(const at::Tensor& x, int64_t to, int64_t tag, const char* what) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> tensors = {x.detach().contiguous()};
  return start(
      "send", what, x,
      [&] {
        return backend_of(x, rank_, to).send(tensors, static_cast<int>(to), static_cast<int>(tag));
      },
      tensors, [] { return at::Tensor(); }, CollectiveLog::Route{ranks_[rank_], ranks_[to], tag});
}

Pending ProcessGroup::receive_async(const at::Tensor& into, int64_t from, int64_t tag,
                                    const char* what) {
  COEUS_ASSERT(into.is_contiguous());
  std::vector<at::Tensor> tensors = {into};
  return start(
      "receive", what, into,
      [&] {
        return backend_of(into, from, rank_)
            .recv(tensors, static_cast<int>(from), static_cast<int>(tag));
      },
      tensors, [into] { return into; }, CollectiveLog::Route{ranks_[from], ranks_[rank_], tag});
}

}  // namespace coeus
