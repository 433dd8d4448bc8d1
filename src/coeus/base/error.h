// Errors that reach a user: every message says which function complains, of what, with the value,
// and what to do about it.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>
#include <string>

namespace coeus {

/// What the process returns to its caller, by cause.
enum class ExitCode : int {
  kDone = 0,
  kFailure = 1,
  kConfiguration = 2,
  kPeerLost = 10,
  kHang = 11,
  kNonFinite = 12,
  kNoUsableCheckpoint = 13,
  kData = 14,
  kOutOfMemory = 15,
};

/// The base of all errors that a user or caller can cause.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ExitCode exit_code = ExitCode::kFailure)
      : std::runtime_error(message), exit_code_(exit_code) {}
  ExitCode exit_code() const { return exit_code_; }

 private:
  ExitCode exit_code_;
};

/// A mistake in the configuration file, a flag, or their combination.
class ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& message) : Error(message, ExitCode::kConfiguration) {}
};

/// Unreadable or malformed training data or tokenizer files.
class DataError : public Error {
 public:
  explicit DataError(const std::string& message) : Error(message, ExitCode::kData) {}
};

/// A checkpoint that cannot be used.
class CheckpointError : public Error {
 public:
  explicit CheckpointError(const std::string& message)
      : Error(message, ExitCode::kNoUsableCheckpoint) {}
};

/// A loss or gradient that is not finite.
class NonFiniteError : public Error {
 public:
  explicit NonFiniteError(const std::string& message) : Error(message, ExitCode::kNonFinite) {}
};

/// A run that does not fit into memory.
class OutOfMemoryError : public Error {
 public:
  explicit OutOfMemoryError(const std::string& message) : Error(message, ExitCode::kOutOfMemory) {}
};

/// A mistake of coeus itself; not for conditions that a caller or a file can cause.
class InternalError : public std::logic_error {
 public:
  InternalError(const char* condition, const char* file, int line)
      : std::logic_error(fmt::format("internal error in coeus: {} does not hold at {}:{}; please "
                                     "report this",
                                     condition, file, line)) {}
};

}  // namespace coeus

/// Throws ErrorType, its message made by fmt::format, unless the condition holds.
#define COEUS_CHECK_AS(ErrorType, condition, ...)  \
  do {                                             \
    if (!(condition)) [[unlikely]]                 \
      throw ErrorType(::fmt::format(__VA_ARGS__)); \
  } while (false)

/// Checks what a caller passed: COEUS_CHECK(n > 0, "[chunk] n must be positive, got {}", n).
#define COEUS_CHECK(condition, ...) COEUS_CHECK_AS(::coeus::Error, condition, __VA_ARGS__)
/// Checks what a user configured.
#define COEUS_CHECK_CONFIG(condition, ...) \
  COEUS_CHECK_AS(::coeus::ConfigError, condition, __VA_ARGS__)
/// Checks what a data or tokenizer file holds.
#define COEUS_CHECK_DATA(condition, ...) COEUS_CHECK_AS(::coeus::DataError, condition, __VA_ARGS__)
/// Checks our own reasoning.
#define COEUS_ASSERT(condition)                                     \
  do {                                                              \
    if (!(condition)) [[unlikely]]                                  \
      throw ::coeus::InternalError(#condition, __FILE__, __LINE__); \
  } while (false)
