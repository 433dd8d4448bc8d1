#include "coeus/data/dataset.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "coeus/base/error.h"
#include "coeus/data/byte_reader.h"
#include "coeus/data/test_folder.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAreArray;

std::vector<std::string> texts_of(const DatasetOptions& options) {
  return read_texts(*make_dataset(options));
}

std::vector<std::string> numbered(int count) {
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) texts.push_back("text " + std::to_string(i));
  return texts;
}

TEST(JsonDataset, ReadsAFileUnderAnyOfItsNames) {
  TestFolder folder;
  auto path = folder.write("any.name", json_lines({"a", "b"}));
  for (const char* name : {"json", "c4", "c4_test", "c4_validation", "C4_Test"}) {
    EXPECT_THAT(texts_of({.name = name, .path = path}), ElementsAre("a", "b")) << name;
  }
}

TEST(JsonDataset, ReadsAFoldersFilesInOrderOfName) {
  TestFolder folder;
  folder.write("b.jsonl", json_lines({"3"}));
  folder.write("a.json.gz", json_lines({"1", "2"}));
  folder.write("c.json.zst", json_lines({"4"}));
  folder.write("B.json", json_lines({"0"}));
  folder.write("README.md", "not data");
  folder.write(".hidden.json", "not data");
  folder.write("sub/d.json", "not data");
  DatasetOptions options{.name = "json", .path = folder.path()};
  EXPECT_THAT(texts_of(options), ElementsAre("0", "1", "2", "3", "4"));
  options.shuffle = true;
  EXPECT_THAT(texts_of(options), testing::UnorderedElementsAre("0", "1", "2", "3", "4"));
}

TEST(JsonDataset, NamesFileAndLineOfABadLineInEveryOrderAndCompression) {
  for (const char* name : {"a.json", "a.json.gz", "a.json.zst"}) {
    for (bool shuffle : {false, true}) {
      TestFolder folder;
      auto path = folder.write(name, json_lines(numbered(500)) + "\n{\"text\": }\n");
      auto dataset = make_dataset({.name = "json", .path = path, .shuffle = shuffle});
      EXPECT_THAT(message_of<DataError>([&] { read_texts(*dataset); }),
                  HasSubstr(path + ":502: not valid JSON"))
          << name << shuffle;
    }
  }
}

TEST(JsonDataset, RefusesToShuffleMoreCompressedTextThanMemoryIsAllowed) {
  TestFolder folder;
  folder.write("a.json.gz", json_lines(numbered(300)));
  folder.write("b.json.gz", json_lines(numbered(300)));
  DatasetOptions options{
      .name = "json", .path = folder.path(), .shuffle = true, .memory_limit = 10000};
  EXPECT_THAT(message_of<DataError>([&] { texts_of(options); }),
              AllOf(HasSubstr("10000 bytes"), HasSubstr("gunzip")));
  options.memory_limit = 13000;
  EXPECT_EQ(texts_of(options).size(), 600u);
  options.memory_limit = 10000;
  options.shuffle = false;
  EXPECT_EQ(texts_of(options).size(), 600u);
}

TEST(TextDataset, TakesEachFileAsADocument) {
  TestFolder folder;
  folder.write("2.md", "second\n\nstill second\n");
  folder.write("1.txt", "first");
  folder.write("3.txt", "");
  folder.write("4.text.gz",
               "\xEF\xBB\xBF"
               "fourth");
  folder.write("data.bin", "no text");
  EXPECT_THAT(texts_of({.name = "text", .path = folder.path()}),
              ElementsAre("first", "second\n\nstill second\n", "fourth"));
  EXPECT_THAT(texts_of({.name = "text", .path = folder.path() / "1.txt"}), ElementsAre("first"));
}

TEST(TextDataset, ReadsALongFileInPartsOfOneDocument) {
  TestFolder folder;
  std::string text;
  while (text.size() < (size_t{3} << 20)) text += "A line of the long text.\n";
  auto dataset = make_dataset({.name = "text", .path = folder.write("long.txt", text)});
  std::string joined;
  int parts = 0;
  for (Document part; dataset->next(part); ++parts) {
    EXPECT_EQ(part.begins, parts == 0);
    joined += part.text;
    EXPECT_EQ(part.ends, joined.size() == text.size());
  }
  EXPECT_EQ(parts, 3);
  EXPECT_EQ(joined, text);
}

TEST(FortunesDataset, ReadsAFolderWithoutTheProgramsIndexes) {
  TestFolder folder;
  folder.write("wisdom", "b\n%\nc\n");
  folder.write("art", "%\na\n a\n%\n");
  folder.write("art.dat", std::string("\0\0\1", 3));
  std::filesystem::create_symlink("art", folder.path() / "art.u8");
  EXPECT_THAT(texts_of({.name = "fortunes", .path = folder.path()}),
              ElementsAre("a\n a", "b", "c"));
}

TEST(FortunesDataset, FindsAsManyAsTheSystemsIndexesCount) {
  std::filesystem::path folder = "/usr/share/games/fortunes";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "the package fortunes is not installed";
  uint64_t expected = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".dat") continue;
    // The index file's header: version and number of texts, 32 bits each, high byte first.
    std::ifstream file(entry.path(), std::ios::binary);
    unsigned char header[8] = {};
    file.read(reinterpret_cast<char*>(header), sizeof header);
    for (int i = 4; i < 8; ++i) expected += uint64_t{header[i]} << (8 * (7 - i));
  }
  EXPECT_GT(expected, 0u);
  EXPECT_EQ(texts_of({.name = "fortunes"}).size(), expected);
}

TEST(Shuffle, GivesEveryDocumentOnceAnEpochInAnOrderOfSeedAndEpoch) {
  TestFolder folder;
  auto texts = numbered(200);
  auto middle = texts.begin() + 77;
  folder.write("a.json", json_lines({texts.begin(), middle}));
  folder.write("b.json", json_lines({middle, texts.end()}));
  std::set<std::vector<std::string>> orders{texts};
  for (uint64_t seed : {0, 1}) {
    auto dataset =
        make_dataset({.name = "json", .path = folder.path(), .shuffle = true, .seed = seed});
    for (int epoch = 0; epoch < 3; ++epoch) {
      auto read = read_texts(*dataset);
      EXPECT_THAT(read, UnorderedElementsAreArray(texts));
      EXPECT_TRUE(orders.insert(read).second) << "an order came twice";
      dataset->next_epoch();
    }
    EXPECT_EQ(dataset->size(), 200);
  }
}

TEST(Shuffle, WorksForFilesOfTextToo) {
  TestFolder folder;
  auto texts = numbered(30);
  for (const auto& text : texts) folder.write(text + ".txt", text);
  auto read = texts_of({.name = "text", .path = folder.path(), .shuffle = true});
  EXPECT_THAT(read, UnorderedElementsAreArray(texts));
  auto sorted = texts;
  std::ranges::sort(sorted);
  EXPECT_NE(read, sorted);
}

TEST(Shuffle, BreaksOffItsIndexWhenStopped) {
  TestFolder folder;
  auto dataset = make_dataset(
      {.name = "json", .path = folder.write("a.json", json_lines(numbered(9))), .shuffle = true});
  std::stop_source stop;
  dataset->set_stop(stop.get_token());
  stop.request_stop();
  EXPECT_THROW(read_texts(*dataset), ReadStopped);
  dataset->set_stop({});
  EXPECT_EQ(read_texts(*dataset).size(), 9u);
}

TEST(Dataset, ReportsAnOptionThatMakesNoSense) {
  auto error_of = [](const DatasetOptions& options) {
    return message_of<ConfigError>([&] { make_dataset(options); });
  };
  EXPECT_THAT(error_of({.name = "c5"}),
              AllOf(HasSubstr("\"c5\""), HasSubstr("json, text, fortunes, synthetic")));
  for (const char* name : {"c4", "c4_test", "c4_validation", "json", "text"}) {
    EXPECT_THAT(error_of({.name = name}), HasSubstr("dataset_path is not set"));
  }
  EXPECT_THAT(error_of({.name = "synthetic", .path = "a", .vocab_size = 9}),
              HasSubstr("no dataset_path"));
  EXPECT_THAT(error_of({.name = "synthetic", .shuffle = true, .vocab_size = 9}),
              HasSubstr("shuffle"));
  EXPECT_THAT(error_of({.name = "synthetic", .vocab_size = 2}), HasSubstr("got 2"));
  EXPECT_THAT(error_of({.name = "json", .mixture = {{"fortunes"}}}), HasSubstr("both"));
  EXPECT_THAT(error_of({.mixture = {{.dataset = "synthetic", .weight = -1}}, .vocab_size = 9}),
              HasSubstr("got -1"));
}

TEST(Dataset, ReportsAPathThatCannotBeRead) {
  TestFolder folder;
  folder.write("sub/a.json", "{}");
  auto error_of = [](const std::string& path) {
    return message_of<DataError>([&] { make_dataset({.name = "json", .path = path}); });
  };
  EXPECT_THAT(error_of(folder.path() / "none"), HasSubstr("No such file"));
  EXPECT_THAT(error_of(folder.path()),
              AllOf(HasSubstr("holds no *.json or *.jsonl"), HasSubstr("subfolders")));
  std::filesystem::create_symlink("gone", folder.path() / "link.json");
  EXPECT_THAT(error_of(folder.path()), AllOf(HasSubstr("link.json"), HasSubstr("No such file")));
  auto pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(error_of(pipe), HasSubstr("neither a regular file nor a folder"));
}

TEST(Dataset, ReportsAFileWithoutPermission) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  TestFolder folder;
  auto path = folder.write("a.json", "{}");
  ::chmod(path.c_str(), 0);
  EXPECT_THAT(message_of<DataError>([&] { make_dataset({.name = "json", .path = path}); }),
              AllOf(HasSubstr(path), HasSubstr("permission denied")));
}

TEST(Dataset, ReportsTruncatedCompressedFiles) {
  for (bool shuffle : {false, true}) {
    TestFolder folder;
    auto bytes = TestFolder::gzip(json_lines(numbered(500)));
    auto path = folder.write_raw("a.json.gz", std::string_view(bytes).substr(0, bytes.size() - 20));
    auto dataset = make_dataset({.name = "json", .path = path, .shuffle = shuffle});
    EXPECT_THAT(message_of<DataError>([&] { read_texts(*dataset); }),
                AllOf(HasSubstr(path), HasSubstr("truncated")));
  }
}

TEST(Dataset, RefusesPositionsThatAreNone) {
  TestFolder folder;
  auto path = folder.write("a.json", json_lines({"a"}));
  for (const DatasetOptions& options :
       {DatasetOptions{.name = "json", .path = path},
        DatasetOptions{.name = "json", .path = path, .shuffle = true},
        DatasetOptions{.name = "text", .path = path},
        DatasetOptions{.name = "synthetic", .vocab_size = 9},
        DatasetOptions{.mixture = {{.dataset = "json", .path = path}}}}) {
    auto dataset = make_dataset(options);
    for (const DatasetPosition& position : {DatasetPosition{},
                                            {-1},
                                            {0, -1},
                                            {0, 0, -1},
                                            {0, 2, 0},
                                            {0, -1, 1 << 30, 0},
                                            {0, 7, 3}}) {
      EXPECT_THROW(dataset->seek(position), CheckpointError)
          << options.name << options.shuffle << fmt::format("{}", position);
    }
  }
}

TEST(Identity, StaysWhenTheFilesMoveAndDiffersWithWhatTheyAre) {
  TestFolder folder;
  auto identity = [&](const std::string& path, bool shuffle = false, uint64_t seed = 0) {
    return make_dataset({.name = "json", .path = path, .shuffle = shuffle, .seed = seed})
        ->identity();
  };
  auto here = identity(folder.write("here/a.json", json_lines({"a"})));
  auto there = identity(folder.write("there/a.json", json_lines({"a"})));
  EXPECT_NO_THROW(check_same_identity(here, there));

  auto longer = identity(folder.write("longer/a.json", json_lines({"ab"})));
  EXPECT_THAT(message_of<ConfigError>([&] { check_same_identity(here, longer); }),
              HasSubstr("bytes was 13, is 14"));
  auto shuffled = identity(folder.path() / "here/a.json", true, 3);
  EXPECT_THAT(message_of<ConfigError>([&] { check_same_identity(here, shuffled); }),
              AllOf(HasSubstr("shuffle was false, is true"), HasSubstr("seed was absent, is 3")));
  auto reseeded = identity(folder.path() / "here/a.json", true, 4);
  EXPECT_THAT(message_of<ConfigError>([&] { check_same_identity(shuffled, reseeded); }),
              HasSubstr("seed was 3, is 4"));
  auto renamed = identity(folder.write("renamed/b.json", json_lines({"a"})));
  EXPECT_THROW(check_same_identity(here, renamed), ConfigError);
}

}  // namespace
}  // namespace coeus
