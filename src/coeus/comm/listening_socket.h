#pragma once

#include <cstdint>

namespace coeus {

/// A file descriptor that is closed with its owner.
class FileDescriptor {
 public:
  explicit FileDescriptor(int number = -1) : number_(number) {}
  ~FileDescriptor() { close(); }
  FileDescriptor(FileDescriptor&& other) noexcept : number_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;

  int number() const { return number_; }
  bool is_open() const { return number_ >= 0; }
  /// The caller closes it from now on.
  int release();
  void close();

 private:
  int number_;
};

/// Who can reach a port.
enum class Reach {
  kThisMachine,  ///< 127.0.0.1 alone
  kNetwork,      ///< every address of this machine
};

/// A TCP socket that listens, closed in programs that this one starts.
struct ListeningSocket {
  FileDescriptor socket;
  int port = 0;
};

/// Listens on `port`, 0 for any free one. Throws ConfigError that says what to do when the port is
/// taken or not allowed.
ListeningSocket listen_on(Reach reach, int port);

}  // namespace coeus
