// libcoeus_operators.so, loaded into a process that has LibTorch and called by the names that
// Python uses.
#include <ATen/core/dispatch/Dispatcher.h>
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/custom_class.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <functional>
#include <string>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"
#include "coeus/mask/select.h"
#include "coeus/ops/attention.h"
#include "coeus/ops/attention_part.h"

namespace coeus {
namespace {

using testing::HasSubstr;
using Stack = std::vector<c10::IValue>;

constexpr double kScale = 0.3;

void load_operators() {
  static void* const library = ::dlopen(COEUS_OPERATORS, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << ::dlerror();
}

/// torch.ops.coeus.NAME(*stack), arguments left out taken from the schema.
Stack call(const char* name, Stack stack, const char* overload = "") {
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
  const auto& arguments = op.schema().arguments();
  for (size_t i = stack.size(); i < arguments.size(); ++i)
    stack.push_back(arguments[i].default_value().value());
  op.callBoxed(&stack);
  return stack;
}

/// self.NAME(*arguments) of an object of torch.classes.
c10::IValue method(const c10::IValue& self, const char* name, Stack arguments = {}) {
  arguments.insert(arguments.begin(), self);
  self.toObject()->type()->getMethod(name).run(arguments);
  return arguments.back();
}

c10::IValue mask_of(const std::string& text) {
  load_operators();
  const auto type = torch::getCustomClass("__torch__.torch.classes.coeus.Mask");
  const c10::IValue self =
      c10::ivalue::Object::create(c10::StrongTypePtr(nullptr, type), /*numSlots=*/1);
  method(self, "__init__", {text});
  return self;
}

std::string text_of(const c10::IValue& object) { return method(object, "__str__").toStringRef(); }

c10::IValue lengths_of(const std::vector<std::vector<int64_t>>& rows) {
  c10::List<c10::List<int64_t>> lists;
  for (const auto& row : rows) lists.push_back(c10::List<int64_t>(at::IntArrayRef(row)));
  return lists;
}

std::string complaint_of(const std::function<void()>& call_it) {
  try {
    call_it();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

const std::vector<std::vector<int64_t>> kDocuments = {{90, 110}, {200}};

/// Both sides' mask over kDocuments, and inputs of 4 heads that share 2.
struct Problem {
  explicit Problem(const std::string& text) {
    std::vector<SequenceLayout> rows;
    for (const auto& lengths : kDocuments)
      rows.push_back(SequenceLayout::from_document_lengths(lengths));
    mask = lower(parse_mask(text), rows);
    block_mask = call("coeus::lower", {mask_of(text), lengths_of(kDocuments)})[0];
    torch::manual_seed(1);
    const auto draw = [](int64_t heads) { return at::randn({2, 200, heads, 16}, at::kDouble); };
    q = draw(4).requires_grad_();
    k = draw(2).requires_grad_();
    v = draw(2).requires_grad_();
    grad_out = draw(4);
  }
  std::vector<at::Tensor> gradients(const at::Tensor& out) const {
    return torch::autograd::grad({out}, {q, k, v}, {grad_out});
  }

  BlockMask mask;
  c10::IValue block_mask;
  at::Tensor q, k, v, grad_out;
};

void expect_close(const at::Tensor& got, const at::Tensor& want) {
  ASSERT_EQ(got.sizes(), want.sizes());
  EXPECT_LE((got - want).abs().max().item<double>(), 1e-12);
}

TEST(Operators, AttentionAndItsGradientsAreTheReferences) {
  const Problem x("causal & document");
  const at::Tensor want = attention_reference(x.q, x.k, x.v, x.mask, kScale);
  const auto want_gradients = x.gradients(want);
  for (const char* const engine : {"auto", "reference", "sdpa", "block_sparse"}) {
    SCOPED_TRACE(engine);
    const at::Tensor out =
        call("coeus::attention", {x.q, x.k, x.v, x.block_mask, kScale, engine})[0].toTensor();
    expect_close(out, want);
    const auto gradients = x.gradients(out);
    for (size_t i = 0; i < gradients.size(); ++i) expect_close(gradients[i], want_gradients[i]);
  }
}

TEST(Operators, AttentionTakesTheUsualScaleWhenNoneIsNamed) {
  const Problem x("causal & sliding_window(20)");
  expect_close(call("coeus::attention", {x.q, x.k, x.v, x.block_mask})[0].toTensor(),
               attention_reference(x.q, x.k, x.v, x.mask, 0.25));
}

TEST(Operators, LogSumExpComesAlongFromEveryEngine) {
  const Problem x("causal & document");
  const AttentionPart want = reference_part(x.q, x.k, x.v, x.mask, kScale);
  for (const char* const engine : {"reference", "sdpa", "block_sparse"}) {
    SCOPED_TRACE(engine);
    const Stack results =
        call("coeus::attention_with_lse", {x.q, x.k, x.v, x.block_mask, kScale, engine});
    expect_close(results[0].toTensor(), want.out);
    expect_close(results[1].toTensor(), want.lse);
    EXPECT_TRUE(results[0].toTensor().requires_grad());
    EXPECT_FALSE(results[1].toTensor().requires_grad());
  }
}

TEST(Operators, MetaTensorsGetShapesOfWhatIsComputed) {
  const Problem x("causal");
  for (const char* const engine : {"reference", "sdpa", "block_sparse"}) {
    const Stack real =
        call("coeus::attention_with_lse", {x.q, x.k, x.v, x.block_mask, kScale, engine});
    const auto to_meta = [](const at::Tensor& t) { return t.to(at::kMeta); };
    const Stack shapes = call("coeus::attention_with_lse",
                              {to_meta(x.q), to_meta(x.k), to_meta(x.v), x.block_mask, kScale});
    for (size_t i = 0; i < real.size(); ++i) {
      EXPECT_EQ(shapes[i].toTensor().sizes(), real[i].toTensor().sizes());
      EXPECT_EQ(shapes[i].toTensor().strides(), real[i].toTensor().strides());
      EXPECT_EQ(shapes[i].toTensor().dtype(), real[i].toTensor().dtype());
    }
  }
}

TEST(Operators, MasksCombineCompareAndPrint) {
  const c10::IValue causal = mask_of("causal"), document = mask_of("document");
  EXPECT_EQ(text_of(method(causal, "__and__", {document})), "causal & document");
  EXPECT_EQ(text_of(method(causal, "__or__", {document})), "causal | document");
  EXPECT_EQ(text_of(method(causal, "__invert__")), "~causal");
  EXPECT_EQ(method(causal, "__repr__").toStringRef(), "Mask(\"causal\")");
  EXPECT_EQ(text_of(method(mask_of("document & causal & full"), "simplified")),
            "causal & document");
  EXPECT_TRUE(method(causal, "__eq__", {mask_of("causal")}).toBool());
  EXPECT_FALSE(method(causal, "__eq__", {document}).toBool());
  EXPECT_TRUE(method(causal, "__ne__", {document}).toBool());
  EXPECT_FALSE(method(causal, "__ne__", {mask_of("causal")}).toBool());
}

TEST(Operators, BlockMasksTellWhatIsVisible) {
  const Problem x("causal & document");
  EXPECT_EQ(method(x.block_mask, "area").toInt(), x.mask.area());
  EXPECT_EQ(method(x.block_mask, "sparsity").toDouble(), x.mask.sparsity());
  EXPECT_EQ(method(x.block_mask, "batch_size").toInt(), 2);
  EXPECT_EQ(text_of(x.block_mask),
            "BlockMask(2 rows of 200 queries and 200 keys, 37.9% of the pairs visible, 1 full and "
            "5 partial tiles)");
  const at::Tensor dense = method(x.block_mask, "to_dense").toTensor();
  EXPECT_TRUE(at::equal(dense, dense_mask(x.mask, at::kCPU).squeeze(1)));
  const c10::IValue piece =
      method(method(x.block_mask, "slice_rows", {0, 1}), "slice_queries", {100, 150});
  EXPECT_EQ(method(piece, "query_length").toInt(), 50);
  EXPECT_EQ(method(piece, "key_length").toInt(), 200);
  EXPECT_TRUE(
      at::equal(method(piece, "to_dense").toTensor(), dense.slice(0, 0, 1).slice(1, 100, 150)));
}

TEST(Operators, TokensWithOneNumberAreOneDocument) {
  const c10::IValue mask = mask_of("causal & document & (sink(2) | sliding_window(1))");
  const auto dense_of = [&](const c10::IValue& documents, const char* overload) {
    return method(call("coeus::lower", {mask, documents}, overload)[0], "to_dense").toTensor();
  };
  const at::Tensor apart = at::tensor({5, 5, 5, 5, 1 << 30, 0, 0, 0});
  // A document's tokens need not follow one another.
  const at::Tensor mixed = at::tensor({7, 7, -1, -1, 7, -1, 7, -1});
  const at::Tensor got = dense_of(at::stack({apart, mixed}), "documents");
  EXPECT_TRUE(at::equal(got[0], dense_of(lengths_of({{4, 1, 3}}), "")[0]));
  EXPECT_TRUE(at::equal(got[1][6], at::tensor({1, 1, 0, 0, 0, 0, 1, 0}).to(at::kBool)));
  EXPECT_TRUE(at::equal(got[1][7], at::tensor({0, 0, 1, 1, 0, 0, 0, 1}).to(at::kBool)));
}

TEST(Operators, PlacesChooseQueriesAndKeys) {
  const c10::IValue mask = mask_of("causal & document");
  const at::Tensor whole =
      method(call("coeus::lower", {mask, lengths_of({{4, 4}, {5, 3}})})[0], "to_dense").toTensor();
  const at::Tensor queries = at::tensor({7, 2});
  const at::Tensor keys = at::stack({at::tensor({0, 3, 6}), at::tensor({4, 1, 1})});
  const at::Tensor got =
      method(call("coeus::lower", {mask, lengths_of({{4, 4}, {5, 3}}), queries, keys})[0],
             "to_dense")
          .toTensor();
  for (int64_t row = 0; row < 2; ++row)
    EXPECT_TRUE(
        at::equal(got[row], whole[row].index_select(0, queries).index_select(1, keys[row])));
}

TEST(Operators, MistakesAreTold) {
  const Problem x("causal");
  const auto attend = [&](const at::Tensor& q, const char* engine) {
    return complaint_of([&] { call("coeus::attention", {q, x.k, x.v, x.block_mask, {}, engine}); });
  };
  const auto lowered = [](const c10::IValue& documents, const char* overload, Stack places) {
    return complaint_of([&] {
      Stack stack = {mask_of("causal"), documents};
      stack.insert(stack.end(), places.begin(), places.end());
      call("coeus::lower", stack, overload);
    });
  };
  EXPECT_THAT(complaint_of([] { mask_of("causal & documnt"); }),
              HasSubstr("[mask] column 10: expected a mask, did you mean 'document'?"));
  EXPECT_THAT(attend(x.q.narrow(1, 0, 7), "auto"),
              HasSubstr("[attention] the mask is for 2 rows of 200 queries"));
  EXPECT_THAT(attend(x.q, "fast"), HasSubstr("use auto, reference, sdpa, block_sparse"));
  EXPECT_THAT(attend(x.q, "check"), HasSubstr("compare with engine \"reference\""));
  EXPECT_THAT(lowered(lengths_of({{3}, {4}}), "", {}), HasSubstr("[lower]"));
  EXPECT_THAT(lowered(at::ones({2, 3}), "documents", {}),
              HasSubstr("[lower] documents must be a tensor of whole numbers, [batch, tokens], got "
                        "Float [2, 3]"));
  EXPECT_THAT(lowered(lengths_of({{3}}), "", {at::tensor({3})}), HasSubstr("[select]"));
  EXPECT_THAT(lowered(lengths_of({{3}}), "", {at::zeros({2, 1}, at::kInt)}),
              HasSubstr("queries names places in 2 rows, but the documents fill 1"));
}

TEST(Operators, ASecondDerivativeIsRefused) {
  const Problem x("causal");
  const at::Tensor out = call("coeus::attention", {x.q, x.k, x.v, x.block_mask})[0].toTensor();
  EXPECT_THAT(complaint_of([&] {
                torch::autograd::grad({out}, {x.q}, {x.grad_out}, /*retain_graph=*/true,
                                      /*create_graph=*/true);
              }),
              HasSubstr("no second derivative"));
}

}  // namespace
}  // namespace coeus
