// What a configured model costs, known before it is built.
#pragma once

#include <string>

namespace coeus {

struct JobConfig;

/// Parameters, FLOPs a token and an estimate of memory by purpose, as lines for a terminal.
/// The model is built without storage, so the largest takes a second.
std::string model_summary(const JobConfig& config);

}  // namespace coeus
