#include "coeus/comm/mesh.h"

#include <fmt/format.h>

#include <numeric>
#include <tuple>

#include "coeus/base/error.h"

namespace coeus {

namespace {

void check_experts(const ParallelDegrees& d) {
  if (d.ep == 1) {
    COEUS_CHECK_CONFIG(d.etp == 1 || d.etp == d.tp,
                       "parallelism.expert_tensor_parallel_degree = {}: must be 1 or "
                       "tensor_parallel_degree = {}",
                       d.etp, d.tp);
    return;
  }
  COEUS_CHECK_CONFIG(d.etp == 1 || d.etp == d.tp,
                     "parallelism.expert_tensor_parallel_degree = {}: must be 1 or "
                     "tensor_parallel_degree = {}",
                     d.etp, d.tp);
  // With matrices that are not split, the ranks of tp hold different experts.
  const bool takes_tp = d.etp == 1;
  const int64_t inner = d.cp * (takes_tp ? d.tp : 1);
  const char* const of_inner =
      takes_tp ? "context_parallel_degree x tensor_parallel_degree" : "context_parallel_degree";
  COEUS_CHECK_CONFIG(d.ep % inner == 0,
                     "parallelism.expert_parallel_degree = {}: must be a multiple of {} = {}", d.ep,
                     of_inner, inner);
  COEUS_CHECK_CONFIG((d.dp_shard * inner) % d.ep == 0,
                     "parallelism.expert_parallel_degree = {}: must divide "
                     "data_parallel_shard_degree x {} = {} x {}",
                     d.ep, of_inner, d.dp_shard, inner);
}

enum : unsigned { kPp = 1, kReplicate = 2, kShard = 4, kCp = 8, kTp = 16 };

/// The ranks that differ from the mesh's own in the given dimensions only, ascending.
std::vector<int64_t> along(const Mesh& mesh, unsigned dimensions) {
  const ParallelDegrees& d = mesh.degrees();
  // From the slowest dimension to the fastest: those so far, times the next.
  std::vector<int64_t> ranks = {0};
  for (const auto& [dimension, degree, own] : {std::tuple(kPp, d.pp, mesh.pp()),
                                               {kReplicate, d.dp_replicate, mesh.dp_replicate()},
                                               {kShard, d.dp_shard, mesh.dp_shard()},
                                               {kCp, d.cp, mesh.cp()},
                                               {kTp, d.tp, mesh.tp()}}) {
    std::vector<int64_t> longer;
    for (const int64_t rank : ranks)
      for (int64_t place = 0; place < degree; ++place)
        if ((dimensions & dimension) != 0 || place == own) longer.push_back(rank * degree + place);
    ranks = std::move(longer);
  }
  return ranks;
}

}  // namespace

ParallelDegrees resolved(ParallelDegrees d, int64_t world) {
  for (const auto& [name, degree] : {std::pair("data_parallel_replicate_degree", d.dp_replicate),
                                     {"context_parallel_degree", d.cp},
                                     {"tensor_parallel_degree", d.tp},
                                     {"pipeline_parallel_degree", d.pp},
                                     {"expert_parallel_degree", d.ep},
                                     {"expert_tensor_parallel_degree", d.etp}})
    COEUS_CHECK_CONFIG(degree >= 1, "parallelism.{} must be at least 1, got {}", name, degree);
  COEUS_CHECK_CONFIG(d.dp_shard == -1 || d.dp_shard >= 1,
                     "parallelism.data_parallel_shard_degree must be -1 or at least 1, got {}",
                     d.dp_shard);
  const int64_t others = d.pp * d.dp_replicate * d.cp * d.tp;
  const std::string product = fmt::format("pipeline {} x replicate {} x context {} x tensor {}",
                                          d.pp, d.dp_replicate, d.cp, d.tp);
  if (d.dp_shard == -1) {
    COEUS_CHECK_CONFIG(world % others == 0,
                       "parallelism.data_parallel_shard_degree = -1: the other degrees ({} = {}) "
                       "do not divide the {} ranks of the job; change one, or start another number "
                       "of ranks",
                       product, others, world);
    d.dp_shard = world / others;
  }
  COEUS_CHECK_CONFIG(d.world() == world,
                     "the degrees of [parallelism] ({} x shard {} = {}) do not make the {} ranks "
                     "of the job; start {} ranks, or set data_parallel_shard_degree = -1",
                     product, d.dp_shard, d.world(), world, d.world());
  check_experts(d);
  return d;
}

Mesh::Mesh(const ParallelDegrees& degrees, int64_t rank) : degrees_(degrees), rank_(rank) {
  COEUS_CHECK(rank >= 0 && rank < degrees.world(), "[Mesh] rank {} is not one of {}", rank,
              degrees.world());
  int64_t rest = rank;
  const auto take = [&](int64_t degree) {
    const int64_t place = rest % degree;
    rest /= degree;
    return place;
  };
  tp_ = take(degrees.tp);
  cp_ = take(degrees.cp);
  dp_shard_ = take(degrees.dp_shard);
  dp_replicate_ = take(degrees.dp_replicate);
  pp_ = rest;
}

int64_t Mesh::at(int64_t pp, int64_t dp_replicate, int64_t dp_shard, int64_t cp, int64_t tp) const {
  const ParallelDegrees& d = degrees_;
  return (((pp * d.dp_replicate + dp_replicate) * d.dp_shard + dp_shard) * d.cp + cp) * d.tp + tp;
}

int64_t Mesh::expert_shards() const {
  const int64_t spread = degrees_.dp_shard * degrees_.cp * (splits_experts() ? 1 : degrees_.tp);
  return spread / degrees_.ep;
}

std::vector<int64_t> Mesh::pipeline_ranks() const { return along(*this, kPp); }
std::vector<int64_t> Mesh::replicate_ranks() const { return along(*this, kReplicate); }
std::vector<int64_t> Mesh::shard_ranks() const { return along(*this, kShard | kCp); }
std::vector<int64_t> Mesh::data_group_ranks() const { return along(*this, kReplicate | kShard); }
std::vector<int64_t> Mesh::loss_ranks() const { return along(*this, kReplicate | kShard | kCp); }
std::vector<int64_t> Mesh::context_ranks() const { return along(*this, kCp); }
std::vector<int64_t> Mesh::tensor_ranks() const { return along(*this, kTp); }

int64_t Mesh::expert_place() const {
  const int64_t place = dp_shard_ * degrees_.cp + cp_;
  return splits_experts() ? place : place * degrees_.tp + tp_;
}

std::vector<int64_t> Mesh::at_expert_places(int64_t first, int64_t count, int64_t step) const {
  const int64_t start = at(pp_, dp_replicate_, 0, 0, 0);
  std::vector<int64_t> ranks;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t place = first + i * step;
    ranks.push_back(start + (splits_experts() ? place * degrees_.tp + tp_ : place));
  }
  return ranks;
}

std::vector<int64_t> Mesh::expert_ranks() const {
  return at_expert_places(expert_place() / degrees_.ep * degrees_.ep, degrees_.ep, 1);
}

std::vector<int64_t> Mesh::expert_shard_ranks() const {
  return at_expert_places(expert_place() % degrees_.ep, expert_shards(), degrees_.ep);
}

std::vector<int64_t> Mesh::all_ranks() const {
  std::vector<int64_t> ranks(world());
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

std::string Mesh::to_string() const {
  std::string text;
  for (const auto& [name, degree] : {std::pair("pp", degrees_.pp),
                                     {"dp_replicate", degrees_.dp_replicate},
                                     {"dp_shard", degrees_.dp_shard},
                                     {"cp", degrees_.cp},
                                     {"tp", degrees_.tp},
                                     {"ep", degrees_.ep},
                                     {"etp", degrees_.etp}})
    if (degree > 1) text += fmt::format("{}{} {}", text.empty() ? "" : " x ", name, degree);
  return text.empty() ? "1 rank" : text;
}

}  // namespace coeus
