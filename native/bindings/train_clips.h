#pragma once

#include <napi.h>

#include "core/image/pixels.h"
#include "core/train/feed.h"

namespace torchvid {

/// From NativeClips (lib/native.ts). Throws ERR_INVALID_ARGUMENT or ERR_SHAPE naming what is wrong.
MakeBatch ClipsFrom(const Napi::Object& sample, const PixelFormat& format);

}  // namespace torchvid
