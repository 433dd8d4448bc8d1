#include "coeus/parallel/context/token_indexes.h"

#include <torch/types.h>

#include <algorithm>
#include <list>
#include <mutex>

namespace coeus {

namespace {

/// Enough for the layers under several masks of a few rows among dozens of ranks.
constexpr size_t kMostEntries = 256;

struct Entry {
  /// Held, so that no other list can come to stand at the same address.
  std::shared_ptr<const ContextShard> shard;
  const std::vector<int32_t>* list;
  at::Tensor index;
};

}  // namespace

at::Tensor token_indexes(const std::shared_ptr<const ContextShard>& shard,
                         const std::vector<int32_t>& list, const at::Device& device) {
  static std::mutex mutex;
  static std::list<Entry> entries;
  const std::lock_guard lock(mutex);
  const auto known = std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) {
    return entry.list == &list && entry.index.device() == device;
  });
  if (known != entries.end()) {
    entries.splice(entries.begin(), entries, known);
    return entries.front().index;
  }
  if (entries.size() == kMostEntries) entries.pop_back();
  const at::Tensor index =
      at::tensor(list, at::TensorOptions().dtype(at::kInt)).to(at::kLong).to(device);
  entries.push_front({shard, &list, index});
  return index;
}

}  // namespace coeus
