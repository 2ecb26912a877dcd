#pragma once

#include <napi.h>

#include <functional>
#include <memory>

#include "core/train/feed.h"

namespace torchvid {

/// Turns a sample from JavaScript into what makes its batch, on the JavaScript thread. Throws
/// ERR_INVALID_ARGUMENT or ERR_SHAPE naming what is wrong.
using SampleReader = std::function<MakeBatch(const Napi::Value& sample)>;

/// A source that JavaScript feeds.
struct FeedRequest {
  std::shared_ptr<Feed> feed;
  SampleReader read;
};

/// From NativeFeed (lib/native.ts).
FeedRequest FeedFrom(const Napi::Object& source);

}  // namespace torchvid
