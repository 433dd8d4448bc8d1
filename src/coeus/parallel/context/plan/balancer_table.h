// What balancers and methods of context parallelism cost over a range of rows, by the exact cost
// model: what `coeus bench balancers` measures and docs/context_balancing.md shows.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coeus/mask/mask.h"
#include "coeus/parallel/context/plan/balancer.h"
#include "coeus/parallel/context/plan/context_cost.h"

namespace coeus {

/// Which documents a row is packed with. One that does not fit any more is cut at the row's end.
enum class DocumentMix {
  kUniform,      ///< 64 of equal lengths
  kExponential,  ///< exponential lengths of mean 2,048
  /// Most are short: log-normal with median 1,024 and sigma 1. One in 32 is long: log-uniform from
  /// a sixteenth of the row to all of it. (WLB-LLM, arXiv 2503.17924, describes such a corpus.)
  kLongTail,
  kOne,  ///< one document
};
DocumentMix document_mix_from_name(std::string_view name);
std::string_view name_of(DocumentMix mix);

/// Lengths of the documents of row number `row`, in order; they add up to `tokens`. The same for
/// the same arguments, on any machine.
std::vector<int64_t> document_lengths(DocumentMix mix, int64_t tokens, uint64_t seed, int64_t row);

/// The masks of a model.
enum class MaskMix {
  kCausal,        ///< causal, across documents
  kDocuments,     ///< causal within each document
  kIrope,         ///< Llama 4: 36 layers see blocks of 8,192 tokens of a document, 12 all of it
  kWindowGlobal,  ///< 5 layers with a window of 1,024 tokens to 1 without
};
MaskMix mask_mix_from_name(std::string_view name);
std::string_view name_of(MaskMix mix);

struct NamedMask {
  std::string name;
  Mask mask;
  int64_t layers = 1;
};
std::vector<NamedMask> masks_of(MaskMix mix);

struct BalancerTableOptions {
  std::vector<int64_t> tokens = {8192, 32768, 131072, 1048576};
  std::vector<int64_t> ranks = {2, 4, 8, 16, 32, 64};
  std::vector<DocumentMix> documents = {DocumentMix::kUniform, DocumentMix::kExponential,
                                        DocumentMix::kLongTail, DocumentMix::kOne};
  std::vector<MaskMix> masks = {MaskMix::kCausal, MaskMix::kDocuments, MaskMix::kIrope,
                                MaskMix::kWindowGlobal};
  std::vector<Balancer> balancers = {Balancer::kNone, Balancer::kHeadTail, Balancer::kPerDocument,
                                     Balancer::kPtrr, Balancer::kJoint};
  std::vector<ContextMethod> methods = {ContextMethod::kAllGather, ContextMethod::kRing,
                                        ContextMethod::kAllToAll, ContextMethod::kNeeded};
  uint64_t seed = 1;
  /// Rows of a mix that is drawn, as long as they hold no more than 2^19 tokens together. A plan is
  /// timed at least as often.
  int64_t rows = 4;
  ContextCostModel model;
};

/// Of one layer, as the mean over the model's layers and the rows.
struct MethodFigures {
  ContextMethod method = ContextMethod::kAllGather;
  double mean_bytes = 0;  ///< that a rank gets in the forward pass
  double most_bytes = 0;  ///< that the rank which gets most gets
  double seconds = 0;     ///< attention, forward and backward, as MethodCost has it
};

/// Of a balancer's plans, as the mean over the rows.
struct BalancerFigures {
  Balancer balancer = Balancer::kNone;
  /// The busiest rank's work in all layers over the mean, and the same of the worst row.
  double imbalance = 1;
  double worst_imbalance = 1;
  /// The same where in each layer all wait for that layer's busiest rank.
  double layer_imbalance = 1;
  double plan_ms = 0;  ///< median of the thread's CPU time
  std::vector<MethodFigures> methods;
  /// Of one layer, with the cheapest of these methods for each mask.
  double best_seconds = 0;

  /// Throws Error when it was not measured.
  const MethodFigures& of(ContextMethod method) const;
};

struct BalancerCase {
  int64_t tokens = 0;
  DocumentMix documents = DocumentMix::kOne;
  MaskMix masks = MaskMix::kCausal;
  int64_t ranks = 1;
  int64_t rows = 1;
  double lowering_ms = 0;      ///< CPU time of lowering a row's masks, median
  double counting_ms = 0;      ///< and of counting each token's work (ContextRow)
  double least_imbalance = 1;  ///< no plan is below it (least_possible_work)
  /// Of one layer if the work were divided evenly and nothing exchanged.
  double ideal_seconds = 0;
  std::vector<BalancerFigures> plans;

  /// Throws Error when it was not measured.
  const BalancerFigures& of(Balancer balancer) const;
};

struct BalancerTable {
  BalancerTableOptions options;
  std::vector<BalancerCase> cases;
  std::vector<std::string> left_out;  ///< which of the combinations asked for, and why
};

/// Measures every combination but those that say nothing: ranks with fewer than 512 or more than
/// 131,072 tokens each, and mixes of documents under a mask that does not see them, where one
/// document is measured too. `report` is called after each case. Throws ConfigError for lengths,
/// ranks or rows out of range and for empty lists.
BalancerTable measure_balancers(const BalancerTableOptions& options,
                                const std::function<void(const BalancerCase&)>& report = {});

/// All figures as a JSON object, with a line a plan.
std::string table_json(const BalancerTable& table);

/// The length of row that most tables and all plots show: 131,072 tokens, or the last measured.
/// Throws ConfigError when nothing was measured.
int64_t shown_tokens(const BalancerTable& table);

/// A page's parts by name, each a table or a few lines of Markdown. Most show rows of
/// shown_tokens() on 8 ranks and on the largest number of ranks.
using MarkdownParts = std::vector<std::pair<std::string, std::string>>;
MarkdownParts table_markdown(const BalancerTable& table);

/// `page` with what stands between the lines `<!-- balancers: NAME -->` and `<!-- end -->` replaced
/// by the part of that name. Throws Error for a name that is not a part's, for a line of the first
/// kind without one of the second, and for a page without any.
std::string with_parts(const std::string& page, const MarkdownParts& parts);

/// Throws the errors of with_parts, before there are any parts.
void check_page(const std::string& page);

/// A new page of all parts, which with_parts can fill again.
std::string page_of(const MarkdownParts& parts);

/// Plots as SVG by file name, of the same length of row.
std::vector<std::pair<std::string, std::string>> table_plots(const BalancerTable& table);

}  // namespace coeus
