#include "coeus/checkpoint/tensor_bytes.h"

#include <torch/types.h>

#include <algorithm>
#include <array>
#include <vector>

#include "coeus/base/error.h"

namespace coeus {

namespace {

// Small enough to be checksummed and copied while in the cache, large enough to cost few calls.
constexpr int64_t kPieceBytes = int64_t{1} << 20;

constexpr std::array<std::pair<StoredType, at::ScalarType>, 15> kTypes = {{
    {StoredType::kBool, at::kBool},
    {StoredType::kU8, at::kByte},
    {StoredType::kI8, at::kChar},
    {StoredType::kF8E5M2, at::kFloat8_e5m2},
    {StoredType::kF8E4M3, at::kFloat8_e4m3fn},
    {StoredType::kI16, at::kShort},
    {StoredType::kU16, at::kUInt16},
    {StoredType::kF16, at::kHalf},
    {StoredType::kBF16, at::kBFloat16},
    {StoredType::kI32, at::kInt},
    {StoredType::kU32, at::kUInt32},
    {StoredType::kF32, at::kFloat},
    {StoredType::kI64, at::kLong},
    {StoredType::kU64, at::kUInt64},
    {StoredType::kF64, at::kDouble},
}};

std::span<std::byte> bytes_in(const at::Tensor& contiguous) {
  return {static_cast<std::byte*>(contiguous.data_ptr()), contiguous.nbytes()};
}

template <class Call>
void in_pieces(uint64_t total, Call call) {
  for (uint64_t at = 0; at < total; at += kPieceBytes) {
    call(at, std::min<uint64_t>(kPieceBytes, total - at));
  }
}

}  // namespace

StoredType stored_type_of(const at::Tensor& tensor, const std::string& name) {
  COEUS_CHECK(
      tensor.defined() && tensor.layout() == at::kStrided && !tensor.is_meta(),
      "[checkpoint] tensor '{}' is undefined, sparse or without storage; only dense tensors "
      "can be saved and loaded",
      name);
  for (const auto& [stored, scalar] : kTypes) {
    if (scalar == tensor.scalar_type()) return stored;
  }
  throw Error(
      fmt::format("[checkpoint] tensor '{}' has dtype {}, which safetensors files cannot hold",
                  name, c10::toString(tensor.scalar_type())));
}

at::ScalarType scalar_type_of(StoredType type) {
  for (const auto& [stored, scalar] : kTypes) {
    if (stored == type) return scalar;
  }
  throw InternalError("every StoredType has a ScalarType", __FILE__, __LINE__);
}

void for_each_piece(const at::Tensor& tensor, StoredType type,
                    const std::function<void(std::span<const std::byte>)>& take) {
  at::NoGradGuard no_grad;
  at::Tensor flat = tensor.detach().contiguous().view({-1});
  const at::ScalarType scalar_type = scalar_type_of(type);
  if (flat.device().is_cpu() && flat.scalar_type() == scalar_type) {
    auto bytes = bytes_in(flat);
    in_pieces(bytes.size(), [&](uint64_t at, uint64_t n) { take(bytes.subspan(at, n)); });
    return;
  }
  in_pieces(flat.numel(), [&](uint64_t at, uint64_t n) {
    at::Tensor piece = flat.narrow(0, static_cast<int64_t>(at), static_cast<int64_t>(n));
    piece = piece.to(at::TensorOptions().device(at::kCPU).dtype(scalar_type));
    take(bytes_in(piece));
  });
}

void fill_tensor(const at::Tensor& tensor, StoredType type,
                 const std::function<void(uint64_t, std::span<std::byte>)>& give) {
  at::NoGradGuard no_grad;
  at::Tensor target = tensor.detach();
  const at::ScalarType scalar_type = scalar_type_of(type);
  if (target.device().is_cpu() && target.is_contiguous() && target.scalar_type() == scalar_type) {
    auto bytes = bytes_in(target);
    in_pieces(bytes.size(), [&](uint64_t at, uint64_t n) { give(at, bytes.subspan(at, n)); });
    return;
  }
  at::Tensor whole = target.is_contiguous() ? target : at::empty(target.sizes(), target.options());
  at::Tensor flat = whole.view({-1});
  const uint64_t element = bytes_of(type);
  in_pieces(flat.numel(), [&](uint64_t at, uint64_t n) {
    at::Tensor piece = at::empty({static_cast<int64_t>(n)}, at::TensorOptions().dtype(scalar_type));
    give(at * element, bytes_in(piece));
    flat.narrow(0, static_cast<int64_t>(at), static_cast<int64_t>(n)).copy_(piece);
  });
  if (!whole.is_same(target)) target.copy_(whole);
}

}  // namespace coeus
