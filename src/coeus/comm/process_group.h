// Ranks that exchange tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coeus/comm/collective_log.h"

namespace c10d {
class Backend;
class Work;
}  // namespace c10d

namespace coeus {

class ExchangeTrace;

/// What becomes of a collective that was started: `wait` gives its result once it is there.
class Pending {
 public:
  Pending();
  /// `finish` makes the result of what has arrived; `kept`: tensors that must live until then.
  Pending(c10::intrusive_ptr<c10d::Work> work, std::vector<at::Tensor> kept,
          std::function<at::Tensor()> finish);
  /// A result that is there already.
  explicit Pending(at::Tensor result);
  ~Pending();
  Pending(Pending&&) noexcept;
  Pending& operator=(Pending&&) noexcept;

  /// Blocks until the exchange is over; once. Throws PeerLostError when it fails.
  at::Tensor wait();
  /// Whether there is something to wait for.
  bool is_started() const { return finish_ != nullptr; }

 private:
  c10::intrusive_ptr<c10d::Work> work_;
  std::vector<at::Tensor> kept_;
  std::function<at::Tensor()> finish_;
  CollectiveLog::Scope scope_;
  std::shared_ptr<ExchangeTrace> trace_;  ///< null unless a trace is recorded
  std::optional<at::Device> device_;      ///< of the tensors, unless it is the CPU
  friend class ProcessGroup;
};

enum class ReduceOperation { kSum, kMax };

/// What carries a group's exchanges: by the device that the tensors are on.
struct GroupBackends {
  c10::intrusive_ptr<c10d::Backend> cpu;
  /// Where ranks have a GPU each; else null.
  c10::intrusive_ptr<c10d::Backend> device;
  /// For what one rank sends to another on GPUs: from lower to higher ranks, and back. NCCL keeps
  /// all that passes between two ranks in one order, so that by one backend ranks which send to
  /// each other at once would wait for ever. Null in a group that sends nothing.
  c10::intrusive_ptr<c10d::Backend> up, down;
};

/// Some ranks of a job, which call the same collectives in the same order, with tensors of the CPU
/// or of the rank's GPU. A group of one rank exchanges nothing. For one thread, but for what is
/// started in it and waited for elsewhere.
///
/// On CPUs sums are taken pairwise in the order of ranks, ((0 + 1) + (2 + 3)) + …, so that a sum
/// over a group equals, to the bit, a sum over its halves and then over the two halves' sums. On
/// GPUs the backend (NCCL) chooses the order. There a Pending's `wait` makes the GPU's current
/// stream wait, not the thread.
///
/// `what` names what is exchanged, for messages and traces ("layers.3 parameters").
class ProcessGroup {
 public:
  /// This rank alone.
  ProcessGroup();
  /// `ranks`: the job's numbers of the members, ascending; `rank`: this process's place among them.
  /// What is exchanged is told to `log`, where there is one; it outlives this.
  ProcessGroup(std::string name, std::vector<int64_t> ranks, int64_t rank, GroupBackends backends,
               CollectiveLog* log = nullptr);
  ~ProcessGroup();
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  int64_t rank() const { return rank_; }
  int64_t size() const { return static_cast<int64_t>(ranks_.size()); }
  const std::vector<int64_t>& ranks() const { return ranks_; }
  const std::string& name() const { return name_; }

  /// x: of the same shape and dtype on every rank. Returns the sum (or maximum) over ranks.
  at::Tensor all_reduce(const at::Tensor& x, const char* what,
                        ReduceOperation operation = ReduceOperation::kSum);
  Pending all_reduce_async(const at::Tensor& x, const char* what,
                           ReduceOperation operation = ReduceOperation::kSum);

  /// x: [n, …], the same on every rank. Returns [size * n, …], rank after rank.
  at::Tensor all_gather(const at::Tensor& x, const char* what);
  Pending all_gather_async(const at::Tensor& x, const char* what);
  /// x: [rows[rank], …]; `rows` has every rank's number. Returns [sum of rows, …].
  at::Tensor all_gather_rows(const at::Tensor& x, const std::vector<int64_t>& rows,
                             const char* what);

  /// x: [size * n, …]. Returns [n, …], the sum over ranks of their rows of this rank.
  at::Tensor reduce_scatter(const at::Tensor& x, const char* what);
  Pending reduce_scatter_async(const at::Tensor& x, const char* what);
  /// x: [sum of rows, …]. Returns [rows[rank], …].
  at::Tensor reduce_scatter_rows(const at::Tensor& x, const std::vector<int64_t>& rows,
                                 const char* what);

  /// x: [sum of sent, …], rows for rank 0 first. Returns [sum of received, …], rows of rank 0
  /// first.
  at::Tensor all_to_all(const at::Tensor& x, const std::vector<int64_t>& sent,
                        const std::vector<int64_t>& received, const char* what);
  Pending all_to_all_async(const at::Tensor& x, const std::vector<int64_t>& sent,
                           const std::vector<int64_t>& received, const char* what);

  /// Rank `root`'s x, on every rank.
  at::Tensor broadcast(const at::Tensor& x, int64_t root, const char* what);
  /// Every rank's text, in the order of ranks.
  std::vector<std::string> all_gather_text(const std::string& text, const char* what);
  void barrier(const char* what);

  /// To and from one rank of the group. Those of one `tag` arrive in the order in which they were
  /// sent; those of different tags wait for each other not at all. A send does not wait for its
  /// receiver. `receive_async` fills `into`, and gives it. On GPUs tags are not looked at: what one
  /// rank sends another it must receive in the order of sending, and only groups with backends for
  /// it send.
  Pending send_async(const at::Tensor& x, int64_t to, int64_t tag, const char* what);
  Pending receive_async(const at::Tensor& into, int64_t from, int64_t tag, const char* what);

 private:
  /// Of collectives of such a tensor.
  c10d::Backend& backend_of(const at::Tensor& x) const;
  /// Of a message.
  c10d::Backend& backend_of(const at::Tensor& x, int64_t from, int64_t to) const;
  /// Starts an exchange of x and logs it.
  template <class Start>
  Pending start(const char* kind, const char* what, const at::Tensor& x, Start start,
                std::vector<at::Tensor> kept, std::function<at::Tensor()> finish,
                const std::optional<CollectiveLog::Route>& route = {});
  at::Tensor reduced_pairwise(const at::Tensor& parts, ReduceOperation operation) const;

  std::string name_;
  std::vector<int64_t> ranks_;
  int64_t rank_;
  GroupBackends backends_;  ///< null alone
  CollectiveLog* log_ = nullptr;
  int64_t log_group_ = 0;
};

}  // namespace coeus
