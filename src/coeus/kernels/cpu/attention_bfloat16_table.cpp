// Attention by bfloat16 instructions, compiled for one instruction set that has them:
// COEUS_CPU_NAMESPACE names it.
#include "coeus/kernels/cpu/attention_backward.h"
#include "coeus/kernels/cpu/attention_forward.h"
#include "coeus/kernels/cpu/attention_products_bfloat16.h"

namespace coeus::COEUS_CPU_NAMESPACE {

using P = BFloat16Products;
constexpr CpuAttentionKernels<BFloat16> kAttentionTable = {P::LeftRows::bytes,
                                                           P::LeftRows::pack,
                                                           P::SummedRows::pack,
                                                           KeyTiles<P, BFloat16>::bytes,
                                                           attention_forward<P, BFloat16>,
                                                           BackwardScratch<P, BFloat16>::bytes,
                                                           attention_backward<P, BFloat16>};

const CpuAttentionKernels<BFloat16>& bfloat16_attention() { return kAttentionTable; }

}  // namespace coeus::COEUS_CPU_NAMESPACE
