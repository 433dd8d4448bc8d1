#include "coeus/models/deepseek_v3/masks.h"

namespace coeus::deepseek_v3 {

Mask block_causal() { return mask::causal() & mask::document(); }

}  // namespace coeus::deepseek_v3
