#include "core/image/prompt_mask.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "core/image/object_search.h"

namespace torchvid {

namespace {

/// Of a box, on each side: the surroundings that its background is learned from.
constexpr double kBoxMargin = 0.5;
/// Where a scribble does not close off its object: the surroundings of its marks in which it is looked for,
/// as a multiple of their longer side.
constexpr double kMarksMargin = 1;
/// Of the searched window, on each side: without a mark for the background this frame probably is.
constexpr double kFrame = 0.05;

/// Log odds of the object before colours are seen: `middle` in a box's middle, falling with the square of
/// the distance from there, 0 where EllipseRadius is `even`, and never below `least`. All three were chosen
/// on the 30 training sequences of DAVIS-2016 (first frames, mean J); the paper has none.
struct PlacePrior {
  double middle;
  double even;
  double least;
};

/// Objects fill 0.4 of their boxes and hardly ever the corners.
constexpr PlacePrior kInBox{1.5, 0.5, -8};
/// Objects are larger than the box of their marks.
constexpr PlacePrior kRoundMarks{3, 12, -8};
/// Log odds where a closed line goes round the object: people draw it tight.
constexpr double kEnclosedOdds = 1;

/// Adds to the problem's prior.
void AddPrior(ObjectSearch& search, const PixelBox& box, const PlacePrior& prior) {
  auto& odds = search.problem.prior;
  odds.resize(search.problem.marks.size());
  ForPixels(search.window, search.problem.size, [&](size_t i, double x, double y) {
    const double value = prior.middle * (1 - EllipseRadius(box, x, y) / prior.even);
    odds[i] += static_cast<float>(std::max(value, prior.least));
  });
}

/// Collects objects in one mask.
class Composer {
 public:
  explicit Composer(const RgbPicture& picture) : picture_(picture), mask_{Bytes(picture.size), {}} {}

  /// Of pixels claimed before, those that are more probable here change hands.
  void Add(uint8_t id, const FoundObject& found) {
    const auto& window = found.window;
    for (int64_t y = 0; y < window.height; ++y) {
      for (int64_t x = 0; x < window.width; ++x) {
        if (found.object[static_cast<size_t>(y * window.width + x)] == 0) continue;
        const auto pixel = (window.top + y) * picture_.size.width + window.left + x;
        auto& owner = mask_.data[static_cast<size_t>(pixel)];
        if (owner == 0 || OddsAt(found.look, pixel) > OddsAt(looks_[owner - 1U], pixel)) owner = id;
      }
    }
    looks_.resize(std::max<size_t>(looks_.size(), id));
    looks_[id - 1U] = found.look;
    if (!found.look) mask_.unclear.push_back(id);
  }

  PromptMask& mask() { return mask_; }

 private:
  static std::vector<uint8_t> Bytes(ImageSize size) {
    return std::vector<uint8_t>(static_cast<size_t>(size.width * size.height));
  }

  /// By colour; an object of unknown look yields to any other.
  float OddsAt(const std::optional<ObjectLook>& look, int64_t pixel) const {
    if (!look) return -std::numeric_limits<float>::infinity();
    const auto* rgb = picture_.rgb + 3 * pixel;
    const Colour colour{static_cast<float>(rgb[0]), static_cast<float>(rgb[1]), static_cast<float>(rgb[2])};
    return look->foreground.LogDensity(colour) - look->background.LogDensity(colour);
  }

  RgbPicture picture_;
  PromptMask mask_;
  std::vector<std::optional<ObjectLook>> looks_;
};

bool Inside(const PixelBox& box, double x, double y) {
  const double right = x - static_cast<double>(box.left);
  const double down = y - static_cast<double>(box.top);
  return right >= 0 && down >= 0 && right < static_cast<double>(box.width) &&
         down < static_cast<double>(box.height);
}

FoundObject FindInBox(const RgbPicture& picture, const PixelBox& box, uint64_t seed) {
  const auto wide = kBoxMargin * static_cast<double>(box.width);
  const auto high = kBoxMargin * static_cast<double>(box.height);
  ObjectSearch search(picture, Grown(box, wide, high, picture.size));
  auto& problem = search.problem;
  bool surrounded = false;
  ForPixels(search.window, problem.size, [&](size_t i, double x, double y) {
    const bool inside = Inside(box, x, y);
    surrounded = surrounded || !inside;
    problem.marks[i] = inside ? Mark::kProbablyObject : Mark::kBackground;
  });
  if (!surrounded) {
    // The box is the picture: background is learned from its corners.
    ForPixels(search.window, problem.size, [&](size_t i, double x, double y) {
      if (EllipseRadius(box, x, y) > 1) problem.marks[i] = Mark::kProbablyBackground;
    });
  }
  AddPrior(search, box, kInBox);
  auto found = search.Find(box, seed);
  ForPixels(search.window, {search.window.width, search.window.height}, [&](size_t i, double x, double y) {
    if (!Inside(box, x, y)) found.object[i] = 0;
  });
  return found;
}

std::vector<uint8_t> Where(const std::vector<uint8_t>& marks, uint8_t id) {
  std::vector<uint8_t> found(marks.size());
  for (size_t i = 0; i < marks.size(); ++i) found[i] = marks[i] == id;
  return found;
}

PixelBox BoundsOf(const std::vector<uint8_t>& set, ImageSize size) {
  int64_t left = size.width;
  int64_t top = size.height;
  int64_t right = 0;
  int64_t bottom = 0;
  for (int64_t y = 0; y < size.height; ++y) {
    for (int64_t x = 0; x < size.width; ++x) {
      if (set[static_cast<size_t>(y * size.width + x)] == 0) continue;
      left = std::min(left, x);
      right = std::max(right, x + 1);
      top = std::min(top, y);
      bottom = y + 1;
    }
  }
  return {left, top, right - left, bottom - top};
}

/// Marks at the search's size: of the pixels that one stands for any mark counts, the object's first.
void TakeMarks(ObjectSearch& search, const RgbPicture& picture, const std::vector<Mark>& marks) {
  auto& taken = search.problem.marks;
  const auto size = search.problem.size;
  const auto& window = search.window;
  std::fill(taken.begin(), taken.end(), Mark::kUnknown);
  for (int64_t y = 0; y < window.height; ++y) {
    for (int64_t x = 0; x < window.width; ++x) {
      const auto mark = marks[static_cast<size_t>((window.top + y) * picture.size.width + window.left + x)];
      if (mark == Mark::kUnknown) continue;
      auto& at = taken[static_cast<size_t>(y * size.height / window.height * size.width +
                                           x * size.width / window.width)];
      if (at != Mark::kObject) at = mark;
    }
  }
}

/// Without a mark for the background: the window's frame, but for what is near the object's marks, probably
/// is.
void MarkFrame(CutProblem& problem) {
  const auto size = problem.size;
  const auto wide =
      std::max<int64_t>(1, std::llround(kFrame * static_cast<double>(std::min(size.width, size.height))));
  for (int64_t y = 0; y < size.height; ++y) {
    for (int64_t x = 0; x < size.width; ++x) {
      const auto margin = std::min({x, y, size.width - 1 - x, size.height - 1 - y});
      auto& mark = problem.marks[static_cast<size_t>(y * size.width + x)];
      if (margin < wide && mark == Mark::kUnknown) mark = Mark::kProbablyBackground;
    }
  }
}

/// What a scribble says of one object.
struct ObjectMarks {
  ObjectMarks(const std::vector<uint8_t>& scribble, uint8_t id, ImageSize size)
      : marks(scribble.size(), Mark::kUnknown) {
    const auto own = Where(scribble, id);
    std::vector<uint8_t> passable(scribble.size());
    for (size_t i = 0; i < scribble.size(); ++i) passable[i] = scribble[i] != kScribbledBackground;
    const auto reachable = Reachable(size, passable, own);
    for (size_t i = 0; i < scribble.size(); ++i) {
      if (scribble[i] == id) {
        marks[i] = Mark::kObject;
      } else if (scribble[i] != 0 || reachable[i] == 0) {
        marks[i] = Mark::kBackground;
      }
    }
    bounds = BoundsOf(own, size);
    room = BoundsOf(reachable, size);
    enclosed = room.width < size.width && room.height < size.height;
  }

  /// Per pixel of the picture. What a line of background shuts out is background too.
  std::vector<Mark> marks;
  /// Of the object's own marks.
  PixelBox bounds;
  /// Of all that a line of background does not shut out.
  PixelBox room;
  /// Whether such a line goes all round the object.
  bool enclosed = false;
};

FoundObject FindMarked(const RgbPicture& picture, const std::vector<uint8_t>& scribble, uint8_t id,
                       uint64_t seed) {
  const ObjectMarks object(scribble, id, picture.size);
  const auto& around = object.enclosed ? object.room : object.bounds;
  const double margin = (object.enclosed ? kBoxMargin : kMarksMargin) *
                        static_cast<double>(std::max(around.width, around.height));
  ObjectSearch search(picture, Grown(around, margin, margin, picture.size));
  TakeMarks(search, picture, object.marks);
  auto& marks = search.problem.marks;
  if (object.enclosed) {
    std::replace(marks.begin(), marks.end(), Mark::kUnknown, Mark::kProbablyObject);
    search.problem.prior.assign(marks.size(), static_cast<float>(kEnclosedOdds));
  } else {
    if (std::count(marks.begin(), marks.end(), Mark::kBackground) == 0) MarkFrame(search.problem);
    AddPrior(search, object.bounds, kRoundMarks);
  }
  return search.Find(object.bounds, seed);
}

}  // namespace

PromptMask MaskFromBoxes(const RgbPicture& picture, const std::vector<PixelBox>& boxes, uint64_t seed) {
  Composer composer(picture);
  uint8_t id = 0;
  for (const auto& box : boxes) composer.Add(++id, FindInBox(picture, box, seed));
  return std::move(composer.mask());
}

PromptMask MaskFromScribble(const RgbPicture& picture, const std::vector<uint8_t>& marks, uint64_t seed) {
  std::vector<bool> present(kScribbledBackground);
  for (const auto mark : marks) {
    if (mark != 0 && mark != kScribbledBackground) present[mark] = true;
  }
  Composer composer(picture);
  for (size_t id = 1; id < present.size(); ++id) {
    if (present[id])
      composer.Add(static_cast<uint8_t>(id), FindMarked(picture, marks, static_cast<uint8_t>(id), seed));
  }
  auto& mask = composer.mask();
  for (size_t i = 0; i < marks.size(); ++i) {
    if (marks[i] != 0) mask.data[i] = marks[i] == kScribbledBackground ? 0 : marks[i];
  }
  return std::move(mask);
}

}  // namespace torchvid
