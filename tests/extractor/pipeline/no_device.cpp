// A CUDA device that does nothing, so that a build of torch without CUDA takes tensors on "cuda" that have no memory.
#include <c10/core/impl/DeviceGuardImplInterface.h>

struct NoDevice final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> {
  c10::Device exchangeDevice(c10::Device) const override { return getDevice(); }
  c10::Device getDevice() const override { return {c10::DeviceType::CUDA, 0}; }
};

namespace c10::impl {
C10_REGISTER_GUARD_IMPL(CUDA, NoDevice)
}
