#include "coeus/checkpoint/tensor_match.h"

#include <torch/types.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "coeus/checkpoint/read_slice.h"
#include "coeus/checkpoint/tensor_bytes.h"

namespace coeus {

namespace {

constexpr size_t kMaxComplaints = 100;

bool types_fit(StoredType stored, StoredType own, const MatchRules& rules) {
  return stored == own || (rules.convert_floats && is_plain_float(stored) && is_plain_float(own));
}

using StoredByName = std::unordered_map<std::string, const StoredTensor*>;

StoredByName index_of(const std::vector<StoredTensor>& stored) {
  StoredByName by_name;
  for (const StoredTensor& tensor : stored) by_name[tensor.name] = &tensor;
  return by_name;
}

/// What one rank, or all of them, found.
struct Findings {
  std::set<std::string> known;  ///< stored tensors that a rank has a place for
  std::vector<std::string> complaints;

  void add(std::string complaint) {
    if (said.insert(complaint).second) complaints.push_back(std::move(complaint));
  }

 private:
  std::set<std::string> said;
};

void complain_of_misfit(const StoredTensor& stored, const std::vector<int64_t>& shape,
                        StoredType own, const MatchRules& rules, Findings& findings) {
  if (stored.shape != shape) {
    findings.add(fmt::format("wrong shape: '{}' is [{}]{}, the run needs [{}]", stored.name,
                             fmt::join(stored.shape, ", "), place_of(stored),
                             fmt::join(shape, ", ")));
  } else if (!types_fit(stored.type, own, rules)) {
    findings.add(fmt::format("wrong dtype: '{}' is {}{}, the run needs {}", stored.name,
                             name_of(stored.type), place_of(stored), name_of(own)));
  }
}

Findings own_findings(const std::vector<StoredTensor>& stored, const NamedTensors& into,
                      const MatchRules& rules, const HeldSlices& slices) {
  const StoredByName by_name = index_of(stored);
  Findings findings;
  for (const auto& [name, tensor] : into) {
    try {
      const auto found = by_name.find(name);
      if (found != by_name.end()) findings.known.insert(name);
      const std::vector<int64_t> shape = held_slice(slices, name, tensor).slice.whole;
      if (found != by_name.end()) {
        complain_of_misfit(*found->second, shape, stored_type_of(tensor, name), rules, findings);
      } else if (!(rules.expert_bias_may_be_absent && name.ends_with("expert_bias"))) {
        findings.add(fmt::format("missing: '{}' of shape [{}]", name, fmt::join(shape, ", ")));
      }
    } catch (const Error& error) {
      findings.add(error.what());
    }
  }
  return findings;
}

std::string to_text(const Findings& findings) {
  using nlohmann::json;
  // A name that is no UTF-8 text belongs to no stored tensor; it need only be shown.
  return json::array({findings.known, findings.complaints})
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

void add_text(const std::string& text, Findings& all) {
  const auto findings = nlohmann::json::parse(text);
  for (const auto& name : findings.at(0)) all.known.insert(name.get<std::string>());
  for (const auto& complaint : findings.at(1)) all.add(complaint.get<std::string>());
}

}  // namespace

std::vector<std::string> mismatches(const std::vector<StoredTensor>& stored,
                                    const NamedTensors& into, const MatchRules& rules,
                                    const HeldSlices& slices, CheckpointRanks& ranks) {
  Findings all;
  for (const std::string& text : ranks.gather(to_text(own_findings(stored, into, rules, slices)))) {
    add_text(text, all);
  }
  for (const StoredTensor& tensor : stored) {
    if (!all.known.contains(tensor.name)) {
      all.add(fmt::format("unknown: '{}' of shape [{}]{}", tensor.name,
                          fmt::join(tensor.shape, ", "), place_of(tensor)));
    }
  }
  return all.complaints;
}

std::string as_lines(const std::vector<std::string>& complaints) {
  const size_t shown = std::min(complaints.size(), kMaxComplaints);
  std::string lines = fmt::format(
      "\n  {}",
      fmt::join(complaints.begin(), complaints.begin() + static_cast<long>(shown), "\n  "));
  if (shown < complaints.size()) {
    lines += fmt::format("\n  and {} more", complaints.size() - shown);
  }
  return lines;
}

void fill_tensors(FileSystem& file_system, const std::vector<StoredTensor>& stored,
                  const NamedTensors& into, const HeldSlices& slices) {
  OpenFiles files(file_system);
  const StoredByName by_name = index_of(stored);
  for (const auto& [name, tensor] : into) {
    auto found = by_name.find(name);
    if (found == by_name.end()) {
      at::NoGradGuard no_grad;
      tensor.detach().zero_();
    } else {
      read_slice(files, *found->second, held_slice(slices, name, tensor).slice, tensor);
    }
  }
}

}  // namespace coeus
