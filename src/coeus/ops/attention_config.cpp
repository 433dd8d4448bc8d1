#include "coeus/ops/attention_config.h"

#include "coeus/base/config_schema.h"

namespace coeus {

void describe(AttentionConfig& config, ConfigSection& section) {
  section
      .field("engine", config.engine,
             "Which code computes attention: auto picks by the cost for the mask; check also holds "
             "that to the reference at every step and reports the worst difference of each layer. "
             "Own key.")
      .one_of({"auto", "reference", "sdpa", "block_sparse", "check"});
}

}  // namespace coeus
