#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "coeus/base/temporary_folder.h"

namespace coeus {

/// A test with a folder of its own, removed afterwards.
class RunTest : public testing::Test {
 protected:
  RunTest();

  /// Trains with the given flags into `folder` / name, and returns that folder. Logging every step.
  std::filesystem::path train(const std::string& name, std::vector<std::string> flags);

  const TemporaryFolder temporary_;
  const std::filesystem::path folder_ = temporary_.path();
};

}  // namespace coeus
