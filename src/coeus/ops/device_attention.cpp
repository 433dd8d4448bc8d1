#include "coeus/ops/device_attention.h"

#include <map>

namespace coeus {

namespace {

std::map<at::DeviceType, DeviceAttention*>& attention_by_device() {
  static std::map<at::DeviceType, DeviceAttention*> all;
  return all;
}

}  // namespace

void set_device_attention(at::DeviceType device, DeviceAttention* attention) {
  attention_by_device()[device] = attention;
}

DeviceAttention* device_attention(at::DeviceType device) {
  const auto found = attention_by_device().find(device);
  return found == attention_by_device().end() ? nullptr : found->second;
}

}  // namespace coeus
