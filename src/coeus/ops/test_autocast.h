// Autocast for tests of operations.
#pragma once

#include <ATen/autocast_mode.h>

#include "coeus/ops/test_device.h"

namespace coeus {

/// While it lives, autocast to bfloat16 on test_device(), or none where it is not enabled.
class TestAutocast {
 public:
  explicit TestAutocast(bool enabled = true) {
    at::autocast::set_autocast_dtype(test_device().type(), at::kBFloat16);
    at::autocast::set_autocast_enabled(test_device().type(), enabled);
  }
  ~TestAutocast() {
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(test_device().type(), false);
  }
  TestAutocast(const TestAutocast&) = delete;
  TestAutocast& operator=(const TestAutocast&) = delete;
};

}  // namespace coeus
