// The attention kernels, compiled for one instruction set: COEUS_CPU_NAMESPACE names it.
#include "coeus/kernels/cpu/attention_backward.h"
#include "coeus/kernels/cpu/attention_forward.h"

namespace coeus::COEUS_CPU_NAMESPACE {

template <class T>
constexpr CpuAttentionKernels<T> attention_table() {
  using P = PlainProducts<AttentionCompute<T>>;
  return {P::LeftRows::bytes,      P::LeftRows::template pack<T>, P::SummedRows::template pack<T>,
          KeyTiles<P, T>::bytes,   attention_forward<P, T>,       BackwardScratch<P, T>::bytes,
          attention_backward<P, T>};
}

template <class T>
constexpr CpuAttentionKernels<T> kAttentionTable = attention_table<T>();

const CpuAttentionKernels<float>& float_attention() { return kAttentionTable<float>; }
const CpuAttentionKernels<BFloat16>& bfloat16_attention() { return kAttentionTable<BFloat16>; }
const CpuAttentionKernels<double>& double_attention() { return kAttentionTable<double>; }

}  // namespace coeus::COEUS_CPU_NAMESPACE
