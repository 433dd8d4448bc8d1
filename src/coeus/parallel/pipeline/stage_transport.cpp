#include "coeus/parallel/pipeline/stage_transport.h"

#include <torch/types.h>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <tuple>

#include "coeus/base/error.h"

namespace coeus {

namespace {

class GroupTransport : public StageTransport {
 public:
  explicit GroupTransport(std::shared_ptr<ProcessGroup> group) : group_(std::move(group)) {}
  int64_t rank() const override { return group_->rank(); }
  Pending send(const at::Tensor& x, int64_t to, int64_t tag) override {
    return group_->send_async(by_host_ ? x.cpu() : x, to, tag, "pipeline stage output");
  }
  Pending receive(const at::Tensor& into, int64_t from, int64_t tag) override {
    if (into.is_cpu() || !by_host_)
      return group_->receive_async(into, from, tag, "pipeline stage input");
    const auto on_host = std::make_shared<Pending>(
        group_->receive_async(at::empty(into.sizes(), into.options().device(at::kCPU)), from, tag,
                              "pipeline stage input"));
    return {nullptr, {}, [on_host, into] { return into.copy_(on_host->wait()); }};
  }
  void go_by_host(bool by_host) override { by_host_ = by_host; }

 private:
  std::shared_ptr<ProcessGroup> group_;
  bool by_host_ = false;
};

/// What ranks of one process have sent each other and not received yet.
class Mailbox {
 public:
  using Address = std::tuple<int64_t, int64_t, int64_t>;  ///< from, to, tag

  void put(const Address& address, at::Tensor x) {
    const std::lock_guard lock(mutex_);
    const bool is_new = messages_.emplace(address, std::move(x)).second;
    COEUS_ASSERT(is_new);
    arrived_.notify_all();
  }
  at::Tensor take(const Address& address) {
    std::unique_lock lock(mutex_);
    // A rank that failed sends nothing any more.
    const bool came = arrived_.wait_for(lock, std::chrono::seconds(20),
                                        [&] { return messages_.contains(address); });
    COEUS_CHECK(came, "[pipeline] nothing came from rank {} to rank {} under tag {} in 20 s",
                std::get<0>(address), std::get<1>(address), std::get<2>(address));
    return std::move(messages_.extract(address).mapped());
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::map<Address, at::Tensor> messages_;
};

class InProcessTransport : public StageTransport {
 public:
  InProcessTransport(std::shared_ptr<Mailbox> mailbox, int64_t rank)
      : mailbox_(std::move(mailbox)), rank_(rank) {}
  int64_t rank() const override { return rank_; }
  Pending send(const at::Tensor& x, int64_t to, int64_t tag) override {
    mailbox_->put({rank_, to, tag}, x.detach().clone());
    return Pending(x);
  }
  Pending receive(const at::Tensor& into, int64_t from, int64_t tag) override {
    const auto receive = [mailbox = mailbox_, into, from, to = rank_, tag] {
      const at::Tensor x = mailbox->take({from, to, tag});
      COEUS_CHECK(x.sizes() == into.sizes() && x.scalar_type() == into.scalar_type(),
                  "[pipeline] rank {} sent {} {} under tag {}, and rank {} expects {} {}", from,
                  c10::toString(x.scalar_type()), x.sizes(), tag, to,
                  c10::toString(into.scalar_type()), into.sizes());
      into.copy_(x);
      return into;
    };
    return {nullptr, {}, receive};
  }

 private:
  std::shared_ptr<Mailbox> mailbox_;
  int64_t rank_;
};

}  // namespace

std::unique_ptr<StageTransport> make_group_transport(std::shared_ptr<ProcessGroup> group) {
  return std::make_unique<GroupTransport>(std::move(group));
}

std::vector<std::unique_ptr<StageTransport>> make_in_process_transports(int64_t ranks) {
  const auto mailbox = std::make_shared<Mailbox>();
  std::vector<std::unique_ptr<StageTransport>> transports;
  for (int64_t rank = 0; rank < ranks; ++rank)
    transports.push_back(std::make_unique<InProcessTransport>(mailbox, rank));
  return transports;
}

}  // namespace coeus
