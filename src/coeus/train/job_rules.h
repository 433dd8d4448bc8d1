// What the sections of a job must fulfil together, once each value by itself is right.
#pragma once

#include "coeus/base/config_mistakes.h"
#include "coeus/base/config_report.h"

namespace coeus {

struct JobConfig;

/// Takes over the values of deprecated keys into the keys that replaced them.
void replace_deprecated_keys(JobConfig& config, ConfigReport& report, ConfigMistakes& mistakes);

/// Adds to `mistakes` every value that asks for a feature that coeus lacks.
void refuse_unsupported_features(JobConfig& config, const ConfigReport& report,
                                 ConfigMistakes& mistakes);

/// Adds to `mistakes` the values that contradict each other, and to report.warnings what runs but
/// is most likely not what was meant.
void check_together(const JobConfig& config, ConfigReport& report, ConfigMistakes& mistakes);

}  // namespace coeus
