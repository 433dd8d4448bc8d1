#pragma once

#include <memory>

#include "coeus/checkpoint/checkpoint_ranks.h"
#include "coeus/comm/parallel_groups.h"

namespace coeus {

/// All ranks of the job, as checkpoints see them: by a process group of its own, so that a save in
/// the background does not get into the way of training.
class GroupRanks : public CheckpointRanks {
 public:
  explicit GroupRanks(const ParallelGroups& groups)
      : group_(groups.mesh.world() == 1 ? groups.world
                                        : groups.make_group("checkpoint", groups.mesh.all_ranks(),
                                                            ParallelGroups::Patience::kPatient)) {}

  int rank() const override { return static_cast<int>(group_->rank()); }
  int size() const override { return static_cast<int>(group_->size()); }
  std::vector<std::string> gather(const std::string& text) override {
    return group_->all_gather_text(text, "checkpoint");
  }

 private:
  std::shared_ptr<ProcessGroup> group_;
};

}  // namespace coeus
