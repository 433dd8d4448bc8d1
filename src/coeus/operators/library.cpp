// What torch.ops.load_library("libcoeus_operators.so") brings: torch.classes.coeus and
// torch.ops.coeus (docs/python.md).
#include <torch/library.h>

#include "coeus/operators/attention.h"
#include "coeus/operators/mask_classes.h"

TORCH_LIBRARY(coeus, library) {
  coeus::define_masks(library);
  coeus::define_attention(library);
}
