#include "coeus/train/config_reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace coeus {
namespace {

using testing::HasSubstr;

TEST(ConfigReference, TheDocumentIsWhatTheKeysSay) {
  std::ifstream in(std::filesystem::path(COEUS_SOURCE_DIR) / "docs/configuration.md");
  std::ostringstream text;
  text << in.rdbuf();
  EXPECT_TRUE(text.str() == config_reference())
      << "renew it: build/coeus config --reference > docs/configuration.md";
}

TEST(ConfigReference, SaysWhichKeysWork) {
  const std::string reference = config_reference();
  EXPECT_THAT(reference, HasSubstr("at its peak; the schedule of [lr_scheduler] multiplies it. | "
                                   "works |"));
  EXPECT_THAT(reference, HasSubstr("| refused unless 1 |"));
  EXPECT_THAT(reference, HasSubstr("worst difference of each layer. Own key. | works |"));
  EXPECT_THAT(reference, HasSubstr("| accepted, without effect: there is no garbage collector |"));
  EXPECT_THAT(reference, HasSubstr("| accepted; only for quantization, not supported yet |"));
}

}  // namespace
}  // namespace coeus
