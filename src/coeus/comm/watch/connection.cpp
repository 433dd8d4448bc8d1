#include "coeus/comm/watch/connection.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>

#include "coeus/comm/peer_lost_error.h"

namespace coeus {

namespace {

using Clock = std::chrono::steady_clock;

/// One try; nothing and a reason when it fails.
FileDescriptor try_to_connect(const std::string& host, int port, Clock::time_point deadline,
                              std::string& reason) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found)) {
    reason = ::gai_strerror(error);
    return FileDescriptor();
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, ::freeaddrinfo);
  for (const addrinfo* address = found; address; address = address->ai_next) {
    FileDescriptor socket(
        ::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.is_open()) continue;
    int error = ::connect(socket.number(), address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
      pollfd waiting{socket.number(), POLLOUT, 0};
      socklen_t size = sizeof error;
      if (::poll(&waiting, 1, milliseconds_until(deadline, std::chrono::seconds(10))) != 1)
        error = ETIMEDOUT;
      else
        ::getsockopt(socket.number(), SOL_SOCKET, SO_ERROR, &error, &size);
    }
    if (error == 0) return socket;
    reason = std::strerror(error);
  }
  return FileDescriptor();
}

}  // namespace

int milliseconds_until(Clock::time_point deadline, std::chrono::milliseconds longest) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::clamp(left, std::chrono::milliseconds(0), longest).count());
}

Connection::Connection(FileDescriptor socket, std::size_t longest_line)
    : socket_(std::move(socket)), longest_line_(longest_line) {
  const int number = socket_.number();
  ::fcntl(number, F_SETFL, ::fcntl(number, F_GETFL) | O_NONBLOCK);
  const auto set = [&](int level, int option, int value) {
    ::setsockopt(number, level, option, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  // A machine without power closes nothing: its silence does, 5 + 3 * 2 seconds after.
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 5);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 2);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 11000);
}

void Connection::send(const nlohmann::json& message) {
  if (!is_open()) return;
  // Messages of errors may quote bytes that are no text.
  unsent_ += message.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  send_queued();
}

void Connection::send_queued() {
  while (has_unsent()) {
    const ssize_t n = ::send(descriptor(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
    if (n > 0)
      unsent_.erase(0, n);
    else if (n < 0 && errno == EINTR)
      continue;
    else
      return;  // for now, or because the peer is gone, which receive() finds
  }
}

void Connection::receive() {
  char buffer[1 << 16];
  while (is_open()) {
    const ssize_t n = ::recv(descriptor(), buffer, sizeof buffer, 0);
    if (n > 0) {
      received_.append(buffer, n);
      if (received_.size() - (received_.rfind('\n') + 1) > longest_line_) close();
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return;
    } else {
      close();
    }
  }
}

std::optional<nlohmann::json> Connection::next() {
  const size_t end = received_.find('\n');
  if (end == std::string::npos) return std::nullopt;
  nlohmann::json message =
      nlohmann::json::parse(received_.begin(), received_.begin() + end, nullptr, false);
  received_.erase(0, end + 1);
  if (message.is_object()) return message;
  close();
  received_.clear();
  return std::nullopt;
}

void Connection::flush(std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  while (has_unsent() && Clock::now() < deadline) {
    pollfd waiting{descriptor(), POLLOUT, 0};
    ::poll(&waiting, 1, milliseconds_until(deadline));
    if ((waiting.revents & (POLLERR | POLLNVAL)) != 0) return;
    send_queued();
  }
}

std::optional<nlohmann::json> Connection::wait_for_next(Clock::time_point deadline) {
  while (true) {
    if (auto message = next()) return message;
    if (!is_open() || Clock::now() >= deadline) return std::nullopt;
    pollfd waiting{descriptor(), POLLIN, 0};
    ::poll(&waiting, 1, milliseconds_until(deadline));
    receive();
  }
}

FileDescriptor connect_to(const std::string& host, int port, Clock::time_point deadline) {
  std::string reason = "no time was left";
  while (true) {
    FileDescriptor socket = try_to_connect(host, port, deadline, reason);
    if (socket.is_open()) return socket;
    if (Clock::now() >= deadline)
      throw PeerLostError(fmt::format("cannot connect to {}:{}: {}", host, port, reason));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

}  // namespace coeus
