#include "coeus/data/byte_reader.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "coeus/base/error.h"

namespace coeus {

namespace {

constexpr size_t kChunk = size_t{1} << 18;

class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : path_(path) {
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    COEUS_CHECK_DATA(fd_ >= 0, "[data] cannot read {}: {}", path, std::strerror(errno));
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(fd_); }

  size_t read(char* to, size_t size, uint64_t offset) const {
    for (;;) {
      ssize_t got = ::pread(fd_, to, size, static_cast<off_t>(offset));
      if (got >= 0) return static_cast<size_t>(got);
      COEUS_CHECK_DATA(errno == EINTR, "[data] cannot read {}: {}", path_, std::strerror(errno));
    }
  }

 private:
  std::string path_;
  int fd_;
};

class PlainReader : public ByteReader {
 public:
  explicit PlainReader(const std::string& path) : file_(path) {}
  size_t read(char* to, size_t size) override {
    size_t got = file_.read(to, size, offset_);
    offset_ += got;
    return got;
  }
  void seek(uint64_t offset) override { offset_ = offset; }

 private:
  Descriptor file_;
  uint64_t offset_ = 0;
};

class StringReader : public ByteReader {
 public:
  explicit StringReader(std::string contents) : contents_(std::move(contents)) {}
  size_t read(char* to, size_t size) override {
    size_t got = contents_.copy(to, size, offset_);
    offset_ += got;
    return got;
  }
  void seek(uint64_t offset) override { offset_ = std::min<uint64_t>(offset, contents_.size()); }

 private:
  std::string contents_;
  size_t offset_ = 0;
};

/// Knows no way to an offset but through what lies before it.
class DecompressingReader : public ByteReader {
 public:
  explicit DecompressingReader(std::stop_token stop) : stop_(std::move(stop)) {}

  size_t read(char* to, size_t size) final {
    size_t got = decompress(to, size);
    offset_ += got;
    return got;
  }

  void seek(uint64_t offset) final {
    if (offset < offset_) {
      rewind();
      offset_ = 0;
    }
    std::vector<char> skipped(std::min<uint64_t>(kChunk, offset - offset_));
    while (offset_ < offset) {
      if (stop_.stop_requested()) throw ReadStopped{};
      if (read(skipped.data(), std::min<uint64_t>(skipped.size(), offset - offset_)) == 0) break;
    }
  }

 private:
  virtual size_t decompress(char* to, size_t size) = 0;
  virtual void rewind() = 0;

  std::stop_token stop_;
  uint64_t offset_ = 0;
};

class GzipReader : public DecompressingReader {
 public:
  GzipReader(const std::string& path, std::stop_token stop)
      : DecompressingReader(std::move(stop)), path_(path), file_(::gzopen(path.c_str(), "rb")) {
    COEUS_CHECK_DATA(file_, "[data] cannot read {}: {}", path, std::strerror(errno));
    ::gzbuffer(file_.get(), kChunk);
    COEUS_CHECK_DATA(::gzdirect(file_.get()) == 0,
                     "[data] {} is not a gzip file, although its name ends in .gz", path);
  }

 private:
  size_t decompress(char* to, size_t size) override {
    int got = ::gzread(file_.get(), to, static_cast<unsigned>(std::min<size_t>(size, 1 << 30)));
    int code = Z_OK;
    const char* message = ::gzerror(file_.get(), &code);
    COEUS_CHECK_DATA(got != 0 || code != Z_BUF_ERROR,
                     "[data] {} ends in the middle of its gzip stream: it is truncated; fetch it "
                     "again",
                     path_);
    COEUS_CHECK_DATA(got >= 0, "[data] cannot decompress {}: {}", path_, message);
    return static_cast<size_t>(got);
  }
  void rewind() override { ::gzrewind(file_.get()); }

  struct Close {
    void operator()(gzFile file) const { ::gzclose(file); }
  };
  std::string path_;
  std::unique_ptr<gzFile_s, Close> file_;
};

class ZstdReader : public DecompressingReader {
 public:
  ZstdReader(const std::string& path, std::stop_token stop)
      : DecompressingReader(std::move(stop)),
        path_(path),
        file_(path),
        stream_(::ZSTD_createDStream()),
        input_(kChunk) {
    COEUS_ASSERT(stream_ != nullptr);
  }

 private:
  size_t decompress(char* to, size_t size) override {
    ZSTD_outBuffer out{to, size, 0};
    while (out.pos == 0) {
      if (in_.pos == in_.size) {
        in_ = {input_.data(), file_.read(input_.data(), input_.size(), file_offset_), 0};
        file_offset_ += in_.size;
      }
      bool at_end = in_.size == 0;
      // An ended frame would begin anew at a further call, so it is not made without input.
      if (at_end && frame_ended_) return 0;
      size_t code = ::ZSTD_decompressStream(stream_.get(), &out, &in_);
      COEUS_CHECK_DATA(!::ZSTD_isError(code), "[data] cannot decompress {}: {}", path_,
                       ::ZSTD_getErrorName(code));
      frame_ended_ = code == 0;
      COEUS_CHECK_DATA(!at_end || out.pos > 0 || frame_ended_,
                       "[data] {} ends in the middle of its zstd stream: it is truncated; fetch it "
                       "again",
                       path_);
    }
    return out.pos;
  }

  void rewind() override {
    ::ZSTD_initDStream(stream_.get());
    in_ = {};
    file_offset_ = 0;
    frame_ended_ = false;
  }

  struct Free {
    void operator()(ZSTD_DStream* stream) const { ::ZSTD_freeDStream(stream); }
  };
  std::string path_;
  Descriptor file_;
  std::unique_ptr<ZSTD_DStream, Free> stream_;
  std::vector<char> input_;
  ZSTD_inBuffer in_{};
  uint64_t file_offset_ = 0;
  bool frame_ended_ = false;
};

}  // namespace

std::unique_ptr<ByteReader> open_bytes(const DataFile& file, std::stop_token stop) {
  switch (file.compression) {
    case Compression::kNone:
      return std::make_unique<PlainReader>(file.path.string());
    case Compression::kGzip:
      return std::make_unique<GzipReader>(file.path.string(), std::move(stop));
    case Compression::kZstd:
      return std::make_unique<ZstdReader>(file.path.string(), std::move(stop));
  }
  COEUS_ASSERT(false);
}

std::unique_ptr<ByteReader> open_bytes(std::string contents) {
  return std::make_unique<StringReader>(std::move(contents));
}

std::string read_range(const DataFile& file, uint64_t begin, uint64_t end) {
  COEUS_ASSERT(file.compression == Compression::kNone && begin <= end);
  Descriptor descriptor(file.path.string());
  std::string bytes(end - begin, '\0');
  size_t got = 0;
  while (got < bytes.size()) {
    size_t more = descriptor.read(bytes.data() + got, bytes.size() - got, begin + got);
    COEUS_CHECK_DATA(more > 0,
                     "[data] {} ends at byte {}, before the {} it had when the run began: it was "
                     "changed; start again",
                     file.path.string(), begin + got, end);
    got += more;
  }
  return bytes;
}

std::string line_at(const DataFile& file, uint64_t offset) {
  auto reader = open_bytes(file);
  std::vector<char> chunk(kChunk);
  int64_t line = 1;
  while (offset > 0) {
    size_t got = reader->read(chunk.data(), std::min<uint64_t>(chunk.size(), offset));
    if (got == 0) break;
    line += std::count(chunk.begin(), chunk.begin() + static_cast<ptrdiff_t>(got), '\n');
    offset -= got;
  }
  return fmt::format("{}:{}", file.path.string(), line);
}

}  // namespace coeus
