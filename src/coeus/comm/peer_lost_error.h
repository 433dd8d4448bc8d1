#pragma once

#include <string>

#include "coeus/base/error.h"

namespace coeus {

/// Another rank of the job that is gone, or does not answer.
class PeerLostError : public Error {
 public:
  explicit PeerLostError(const std::string& message) : Error(message, ExitCode::kPeerLost) {}
};

}  // namespace coeus
