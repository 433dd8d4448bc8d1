#include "coeus/train/metrics/memory_table.h"

#include <gtest/gtest.h>

namespace coeus {
namespace {

TEST(MemoryTable, ShowsSizesSharesAndTheTotal) {
  constexpr int64_t kMiB = 1 << 20;
  EXPECT_EQ(memory_table({{"parameters", 25 * kMiB},
                          {"optimizer", 50 * kMiB},
                          {"activations at their peak", 125 * kMiB}}),
            "where memory went in step 1:\n"
            "  parameters                     25.00 MiB   12.5%\n"
            "  optimizer                      50.00 MiB   25.0%\n"
            "  activations at their peak     125.00 MiB   62.5%\n"
            "  total                         200.00 MiB  100.0%");
}

TEST(MemoryTable, ChoosesItsUnitByTheTotal) {
  EXPECT_EQ(memory_table({{"parameters", int64_t{24} << 30}}, "memory"),
            "memory:\n"
            "  parameters      24.00 GiB  100.0%\n"
            "  total           24.00 GiB  100.0%");
  EXPECT_EQ(memory_table({{"parameters", 2048}}, "memory"),
            "memory:\n"
            "  parameters       2.00 KiB  100.0%\n"
            "  total            2.00 KiB  100.0%");
}

TEST(MemoryTable, StandsWithoutEntries) {
  EXPECT_EQ(memory_table({}, "memory"), "memory:\n  total       0.00 KiB    0.0%");
}

}  // namespace
}  // namespace coeus
