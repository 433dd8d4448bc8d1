#include "coeus/checkpoint/initial_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coeus/base/memory_file_system.h"
#include "coeus/checkpoint/checkpoint_writer.h"
#include "coeus/checkpoint/safetensors.h"
#include "coeus/checkpoint/small_run.h"
#include "coeus/checkpoint/tensor_bytes.h"

namespace coeus {
namespace {

using testing::HasSubstr;

class InitialWeightsTest : public testing::Test {
 protected:
  InitialWeightsTest() : want(small_state(9).model), into(blank_state().model) {}

  void put(const std::string& path, const NamedTensors& tensors) {
    std::vector<SafetensorsEntry> entries;
    for (const auto& [name, tensor] : tensors) {
      entries.push_back({name, stored_type_of(tensor, name), tensor.sizes().vec()});
    }
    auto layout = lay_out_safetensors(entries, {});
    std::string file = layout.header_bytes;
    for (const auto& entry : layout.header.tensors) {
      for (const auto& [name, tensor] : tensors) {
        if (name != entry.name) continue;
        for_each_piece(tensor, entry.type, [&](std::span<const std::byte> bytes) {
          file.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        });
      }
    }
    files.put(path, file);
  }

  void put_index(const std::map<std::string, std::string>& weight_map) {
    nlohmann::json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", weight_map}};
    files.put("/w/model.safetensors.index.json", index.dump());
  }

  std::string refusal() {
    try {
      load_model_weights(files, "/w", into);
    } catch (const CheckpointError& error) {
      EXPECT_EQ(error.exit_code(), ExitCode::kNoUsableCheckpoint);
      EXPECT_TRUE(same_tensors(into, blank_state().model)) << "changed before it was refused";
      return error.what();
    }
    return "";
  }

  NamedTensors part(size_t begin, size_t end) {
    return {want.begin() + static_cast<long>(begin), want.begin() + static_cast<long>(end)};
  }

  MemoryFileSystem files;
  NamedTensors want;
  NamedTensors into;
};

TEST_F(InitialWeightsTest, ComeFromOneFile) {
  put("/w.safetensors", want);
  load_model_weights(files, "/w.safetensors", into);
  EXPECT_TRUE(same_tensors(into, want));
}

TEST_F(InitialWeightsTest, ComeFromAFolderOfFiles) {
  put("/w/a.safetensors", part(0, 1));
  put("/w/b.safetensors", part(1, 3));
  files.put("/w/readme.txt", "not looked at");
  load_model_weights(files, "/w", into);
  EXPECT_TRUE(same_tensors(into, want));
}

TEST_F(InitialWeightsTest, ComeFromAFolderWithAnIndex) {
  put("/w/a.safetensors", part(0, 1));
  put("/w/b.safetensors", part(1, 3));
  put("/w/unlisted.safetensors", part(0, 3));
  put_index({{want[0].first, "a.safetensors"},
             {want[1].first, "b.safetensors"},
             {want[2].first, "b.safetensors"}});
  load_model_weights(files, "/w", into);
  EXPECT_TRUE(same_tensors(into, want));
}

TEST_F(InitialWeightsTest, ComeFromACheckpointOfCoeus) {
  files.make_folders("/w");
  TrainingState state = small_state(9);
  CheckpointWriter(state, {.step = 9}).write(files, "/w");
  load_model_weights(files, "/w", into);
  EXPECT_TRUE(same_tensors(into, want));
  EXPECT_EQ(find_initial_weights(files, "/w").checkpoint->manifest.step, 9);

  into = blank_state().model;
  files.content("/w/model.safetensors").back() ^= 1;
  EXPECT_THAT(refusal(), HasSubstr("is damaged"));
}

TEST_F(InitialWeightsTest, AreConvertedBetweenFloatTypes) {
  want[0].second = want[0].second.to(at::kBFloat16);
  want[1].second = want[1].second.to(at::kDouble);
  put("/w.safetensors", want);
  load_model_weights(files, "/w.safetensors", into);
  EXPECT_TRUE(same_tensors(into, small_state(9).model));
}

TEST_F(InitialWeightsTest, StartAnAbsentExpertBiasAtZero) {
  put("/w.safetensors", want);
  into.emplace_back("layers.0.moe.expert_bias", torch::ones({4}));
  load_model_weights(files, "/w.safetensors", into);
  EXPECT_TRUE(at::equal(into.back().second, torch::zeros({4})));
}

TEST_F(InitialWeightsTest, MustAllBeThereAndKnown) {
  want[0].first = "model.layers.0.weight";
  put("/w/a.safetensors", want);
  std::string text = refusal();
  EXPECT_THAT(text, HasSubstr("missing: 'tok_embeddings.weight'"));
  EXPECT_THAT(text, HasSubstr("unknown: 'model.layers.0.weight'"));
  EXPECT_THAT(text, HasSubstr("look like Hugging Face's"));
}

TEST_F(InitialWeightsTest, MayNotStandInTwoFiles) {
  put("/w/a.safetensors", part(0, 2));
  put("/w/b.safetensors", part(1, 3));
  EXPECT_THAT(refusal(), HasSubstr("tensor 'layers.0.wq.weight' stands in two files"));
}

TEST_F(InitialWeightsTest, AnIndexMayNotLeadOutOfItsFolder) {
  put("/outside.safetensors", want);
  for (const char* file : {"../outside.safetensors", "/outside.safetensors", "..", "", "a/b"}) {
    files.make_folders("/w");
    put_index({{"w", file}});
    EXPECT_THAT(refusal(), HasSubstr("is no file of this folder")) << file;
  }
}

TEST_F(InitialWeightsTest, AnIndexMustAgreeWithItsFiles) {
  put("/w/a.safetensors", part(0, 2));
  put_index({{want[0].first, "a.safetensors"}, {"ghost", "a.safetensors"}});
  std::string text = refusal();
  EXPECT_THAT(text, HasSubstr("'layers.0.wq.weight' is in /w/a.safetensors, but not by the index"));
  EXPECT_THAT(text, HasSubstr("'ghost' is not in /w/a.safetensors"));
  put_index({{want[0].first, "absent.safetensors"}});
  EXPECT_THAT(refusal(), HasSubstr("absent.safetensors: No such file"));
}

TEST_F(InitialWeightsTest, AMalformedIndexIsRefused) {
  put("/w/a.safetensors", want);
  for (const char* text : {"", "{", "[]", "{}", R"({"weight_map":3})", R"({"weight_map":{"a":3}})",
                           R"({"weight_map":{"a":["b"]}})", "\xFF"}) {
    files.put("/w/model.safetensors.index.json", text);
    EXPECT_THAT(refusal(), HasSubstr("model.safetensors.index.json")) << text;
  }
  files.put("/w/model.safetensors.index.json", std::string(1000000, '['));
  EXPECT_THAT(refusal(), HasSubstr("nested too deeply"));
}

TEST_F(InitialWeightsTest, SayWhatAFolderHoldsInstead) {
  EXPECT_THAT(refusal(), HasSubstr("/w does not exist"));
  files.make_folders("/w");
  EXPECT_THAT(refusal(), HasSubstr("neither a checkpoint of coeus nor .safetensors files"));
  files.make_folders("/w/step-20");
  EXPECT_THAT(refusal(), HasSubstr("name a step, such as /w/step-20"));
  files.put("/w/.metadata", "");
  files.remove_all("/w/step-20");
  EXPECT_THAT(refusal(), HasSubstr("torch.distributed.checkpoint"));
}

TEST_F(InitialWeightsTest, ACutFileIsRefusedBeforeAnythingIsTaken) {
  put("/w/a.safetensors", want);
  const std::string whole = files.content("/w/a.safetensors");
  for (size_t n = 0; n < whole.size(); ++n) {
    files.content("/w/a.safetensors") = whole.substr(0, n);
    EXPECT_THAT(refusal(), HasSubstr("/w/a.safetensors")) << n;
  }
}

}  // namespace
}  // namespace coeus
