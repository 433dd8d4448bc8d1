// Attention by bfloat16 instructions, compiled for one instruction set that has them:
// COEUS_CPU_NAMESPACE names it.
#include "coeus/kernels/cpu/attention_backward.h"
#include "coeus/kernels/cpu/attention_forward.h"
#include "coeus/kernels/cpu/attention_products_bfloat16.h"

namespace coeus::COEUS_CPU_NAMESPACE {

constexpr CpuAttentionKernels<BFloat16> kAttentionTable = {
    BFloat16Products::PackedRows::bytes,      BFloat16Products::PackedRows::pack,
    KeyTiles<BFloat16Products>::bytes,        attention_forward<BFloat16Products, BFloat16>,
    BackwardScratch<BFloat16Products>::bytes, attention_backward<BFloat16Products, BFloat16>};

const CpuAttentionKernels<BFloat16>& bfloat16_attention() { return kAttentionTable; }

}  // namespace coeus::COEUS_CPU_NAMESPACE
