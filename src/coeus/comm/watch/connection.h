// Messages between two ranks' watches: JSON objects, one a line.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "coeus/comm/listening_socket.h"

namespace coeus {

class Connection {
 public:
  /// Takes a connected socket over. A peer's line above `longest_line` bytes ends it.
  Connection(FileDescriptor socket, std::size_t longest_line);

  int descriptor() const { return socket_.number(); }
  bool is_open() const { return socket_.is_open(); }
  bool has_unsent() const { return is_open() && !unsent_.empty(); }
  void set_longest_line(std::size_t bytes) { longest_line_ = bytes; }

  /// Queues a message and sends what the system takes at once.
  void send(const nlohmann::json& message);
  void send_queued();
  /// Reads what has come. Closes when the peer has, or talks nonsense; what came before stays.
  void receive();
  std::optional<nlohmann::json> next();
  /// Blocks until everything is sent, the peer is gone or the time is over.
  void flush(std::chrono::milliseconds timeout);
  /// Blocks until a message is there; nothing when the peer is gone or the time is over.
  std::optional<nlohmann::json> wait_for_next(std::chrono::steady_clock::time_point deadline);
  void close() { socket_.close(); }

 private:
  FileDescriptor socket_;
  std::size_t longest_line_;
  std::string unsent_, received_;
};

/// Connects to host:port, again and again until it works or the time is over; throws PeerLostError
/// then.
FileDescriptor connect_to(const std::string& host, int port,
                          std::chrono::steady_clock::time_point deadline);

/// poll() with what is left until `deadline`, at least 0 ms and at most `longest`.
int milliseconds_until(std::chrono::steady_clock::time_point deadline,
                       std::chrono::milliseconds longest = std::chrono::hours(1));

}  // namespace coeus
