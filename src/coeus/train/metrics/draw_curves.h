// Pictures and tables of two runs' losses.
#pragma once

#include <string>

#include "coeus/train/metrics/loss_curve.h"

namespace coeus {

/// Both losses over the steps, and below them the difference B - A at the steps that both have, as
/// an SVG file that needs nothing else. The names go into the legend. Numbers that are not finite
/// are gaps.
std::string draw_curves_svg(const LossCurve& a, const LossCurve& b, const std::string& name_a,
                            const std::string& name_b);

/// A line a common step: the step, both losses as the shortest text that reads back the same, and
/// B - A.
std::string step_table(const LossCurve& a, const LossCurve& b);

}  // namespace coeus
