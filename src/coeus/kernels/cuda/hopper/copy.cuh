// The bulk copy engine (TMA): tiles of a tensor to shared memory and back, and sums into memory.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "coeus/kernels/cuda/hopper/barrier.cuh"

namespace coeus::hopper {

__device__ __forceinline__ void prefetch(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

/// Starts copying the map's box at element `column` of head `head` of token `token` of batch row
/// `row` to shared memory; `barrier` must expect its bytes. What lies past the tensor's ends
/// becomes 0.
__device__ __forceinline__ void load_tile(void* to, const CUtensorMap& map, Barrier& barrier,
                                          int column, int head, int token, int row) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, "
      "%4, %5, %6}], [%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(&barrier.state)), "r"(column), "r"(head), "r"(token), "r"(row)
      : "memory");
}
/// Starts copying a box from shared memory to the tensor; what lies past its ends is left out.
__device__ __forceinline__ void store_tile(const CUtensorMap& map, const void* from, int column,
                                           int head, int token, int row) {
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(
          &map),
      "r"(shared_address(from)), "r"(column), "r"(head), "r"(token), "r"(row)
      : "memory");
}
/// Starts copying `bytes` (a multiple of 16) to shared memory; `barrier` must expect them.
__device__ __forceinline__ void load_bytes(void* to, const void* from, uint32_t bytes,
                                           Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(&barrier.state))
      : "memory");
}
/// Starts adding `bytes` of floats in shared memory to those at `to`, each on its own at once.
__device__ __forceinline__ void add_floats(float* to, const float* from, uint32_t bytes) {
  asm volatile(
      "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
      "r"(shared_address(from)), "r"(bytes)
      : "memory");
}
/// Closes the group of this thread's copies out of shared memory since the last.
__device__ __forceinline__ void commit_stores() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
/// Waits until at most kPending of this thread's groups still read shared memory.
template <int kPending>
__device__ __forceinline__ void wait_stores_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
/// Waits until this thread's groups have written what they copy.
__device__ __forceinline__ void wait_stores() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

}  // namespace coeus::hopper
