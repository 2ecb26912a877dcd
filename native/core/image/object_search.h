#pragma once

#include <optional>
#include <vector>

#include "core/image/grab_cut.h"
#include "core/image/pixel_window.h"

namespace torchvid {

/// Colours of an object and of what is round it.
struct ObjectLook {
  ColourMixture foreground;
  ColourMixture background;
};

/// An object in its window: 1 where it is. Without a look it could not be told from its surroundings, and is
/// an ellipse.
struct FoundObject {
  PixelBox window;
  std::vector<uint8_t> object;
  std::optional<ObjectLook> look;
};

/// Looks for one object in a window of a picture, small first, then its edge at full size.
class ObjectSearch {
 public:
  /// `problem` gets the window's colours at the size at which the object is looked for; its marks are to be
  /// filled in, and its prior if there is one.
  ObjectSearch(const RgbPicture& picture, const PixelBox& window);

  /// `ellipse`: the box whose inscribed ellipse stands for the object when nothing sensible is found.
  FoundObject Find(const PixelBox& ellipse, uint64_t seed) const;

  PixelBox window;
  CutProblem problem;

 private:
  bool IsClear(const CutResult& result) const;
  std::vector<uint8_t> WithEdge(const CutResult& result) const;
  FoundObject Ellipse(const PixelBox& box) const;

  RgbPicture picture_;
};

}  // namespace torchvid
