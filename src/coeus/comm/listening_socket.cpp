#include "coeus/comm/listening_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "coeus/base/error.h"

namespace coeus {

namespace {

/// Connections that wait to be accepted: all ranks of a job may come at once.
constexpr int kBacklog = 4096;

[[noreturn]] void refuse(int port, int error) {
  const char* const reason = std::strerror(error);
  COEUS_CHECK_CONFIG(error != EADDRINUSE,
                     "port {} of this machine is taken ({}), perhaps by another job: set "
                     "MASTER_PORT, or --master-port of coeus launch, to a free port, the same for "
                     "all ranks; coeus launch on one machine finds one by itself",
                     port, reason);
  throw ConfigError(fmt::format("cannot listen on port {} of this machine: {}", port, reason));
}

int bind_and_listen(int socket, const sockaddr* address, socklen_t size) {
  const int on = 1;
  // A port of a job that has just ended is free.
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket, address, size) != 0 || ::listen(socket, kBacklog) != 0) return errno;
  return 0;
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this == &other) return *this;
  close();
  number_ = other.release();
  return *this;
}

int FileDescriptor::release() { return std::exchange(number_, -1); }

void FileDescriptor::close() {
  if (number_ >= 0) ::close(release());
}

ListeningSocket listen_on(Reach reach, int port) {
  ListeningSocket result;
  int error = EAFNOSUPPORT;
  if (reach == Reach::kNetwork) {
    // One socket for IPv6 and IPv4, where there is IPv6.
    result.socket = FileDescriptor(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (result.socket.is_open()) {
      const int off = 0;
      ::setsockopt(result.socket.number(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
      sockaddr_in6 address{};
      address.sin6_family = AF_INET6;
      address.sin6_addr = in6addr_any;
      address.sin6_port = htons(static_cast<std::uint16_t>(port));
      error = bind_and_listen(result.socket.number(), reinterpret_cast<sockaddr*>(&address),
                              sizeof address);
      if (error == EADDRINUSE || error == EACCES) refuse(port, error);
    }
  }
  if (error != 0) {
    result.socket = FileDescriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(reach == Reach::kThisMachine ? INADDR_LOOPBACK : INADDR_ANY);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    error = bind_and_listen(result.socket.number(), reinterpret_cast<sockaddr*>(&address),
                            sizeof address);
    if (error != 0) refuse(port, error);
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  ::getsockname(result.socket.number(), reinterpret_cast<sockaddr*>(&bound), &size);
  result.port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                                  : reinterpret_cast<sockaddr_in&>(bound).sin_port);
  return result;
}

}  // namespace coeus
