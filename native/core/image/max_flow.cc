#include "core/image/max_flow.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/cancel.h"

namespace torchvid {

namespace {

/// Parents that are no arc.
constexpr int32_t kNoParent = -1;
constexpr int32_t kTerminalParent = -2;
constexpr int32_t kOrphaned = -3;

constexpr int32_t kUnreachable = std::numeric_limits<int32_t>::max();
/// Paths between two looks whether the job was cancelled.
constexpr int kPathsPerLook = 4096;

}  // namespace

MaxFlow::MaxFlow(int32_t nodes, int32_t edges) : nodes_(static_cast<size_t>(nodes)) {
  arcs_.reserve(2 * static_cast<size_t>(edges));
}

void MaxFlow::AddTerminal(int32_t node, double from_source, double to_sink) {
  auto& terminal = At(node).terminal;
  // What can run straight through does so.
  if (terminal > 0)
    from_source += terminal;
  else
    to_sink -= terminal;
  flow_ += std::min(from_source, to_sink);
  terminal = from_source - to_sink;
}

void MaxFlow::AddEdge(int32_t a, int32_t b, double forward, double backward) {
  const auto arc = static_cast<int32_t>(arcs_.size());
  arcs_.push_back({forward, b, At(a).first_arc});
  At(a).first_arc = arc;
  arcs_.push_back({backward, a, At(b).first_arc});
  At(b).first_arc = arc + 1;
}

double MaxFlow::Solve() {
  PlantTrees();
  int paths = 0;
  for (int32_t node = NextActive(); node >= 0;) {
    const auto bridge = Grow(node);
    if (bridge < 0) {
      node = NextActive();
      continue;
    }
    ++time_;
    Augment(bridge);
    Adopt();
    // It may touch the other tree elsewhere, unless it was cut off.
    if (At(node).parent == kNoParent) node = NextActive();
    if (++paths % kPathsPerLook == 0) ThrowIfCancelled();
  }
  return flow_;
}

void MaxFlow::PlantTrees() {
  for (int32_t i = 0; i < static_cast<int32_t>(nodes_.size()); ++i) {
    auto& node = At(i);
    if (node.terminal == 0) continue;
    node.tree = node.terminal > 0 ? Tree::kSource : Tree::kSink;
    node.parent = kTerminalParent;
    node.distance = 1;
    Activate(i);
  }
}

void MaxFlow::Activate(int32_t node) {
  if (At(node).active) return;
  At(node).active = true;
  active_next_.push_back(node);
}

/// The next active node that is still in a tree, in order of activation; -1 when there is none.
int32_t MaxFlow::NextActive() {
  while (true) {
    if (active_at_ == active_.size()) {
      active_.clear();
      active_.swap(active_next_);
      active_at_ = 0;
      if (active_.empty()) return -1;
    }
    const auto node = active_[active_at_++];
    At(node).active = false;
    if (At(node).parent != kNoParent) return node;
  }
}

/// Takes free neighbours into the node's tree. Returns the arc, from the source's tree to the sink's, where
/// the trees touch; -1 when they do not here.
int32_t MaxFlow::Grow(int32_t node) {
  const auto tree = At(node).tree;
  for (auto arc = At(node).first_arc; arc >= 0; arc = ArcAt(arc).next) {
    if (Outward(arc, tree) <= 0) continue;
    const auto other = ArcAt(arc).head;
    auto& neighbour = At(other);
    if (neighbour.parent == kNoParent) {
      neighbour.tree = tree;
      neighbour.parent = arc ^ 1;
      neighbour.distance = At(node).distance + 1;
      neighbour.time = At(node).time;
      Activate(other);
    } else if (neighbour.tree != tree) {
      return tree == Tree::kSource ? arc : arc ^ 1;
    } else if (neighbour.time <= At(node).time && neighbour.distance > At(node).distance + 1 &&
               neighbour.parent != kTerminalParent) {
      // A shorter way to the terminal.
      neighbour.parent = arc ^ 1;
      neighbour.distance = At(node).distance + 1;
      neighbour.time = At(node).time;
    }
  }
  return -1;
}

/// Pushes what the path through `bridge` can carry.
void MaxFlow::Augment(int32_t bridge) {
  const auto from = ArcAt(bridge ^ 1).head;
  const auto to = ArcAt(bridge).head;
  const auto flow =
      std::min({ArcAt(bridge).residual, Bottleneck(from, Tree::kSource), Bottleneck(to, Tree::kSink)});
  ArcAt(bridge).residual -= flow;
  ArcAt(bridge ^ 1).residual += flow;
  Push(from, Tree::kSource, flow);
  Push(to, Tree::kSink, flow);
  flow_ += flow;
}

double MaxFlow::Bottleneck(int32_t node, Tree tree) {
  double least = std::numeric_limits<double>::infinity();
  for (; At(node).parent != kTerminalParent; node = ArcAt(At(node).parent).head) {
    least = std::min(least, Outward(At(node).parent ^ 1, tree));
  }
  return std::min(least, std::abs(At(node).terminal));
}

void MaxFlow::Push(int32_t node, Tree tree, double flow) {
  while (At(node).parent != kTerminalParent) {
    const auto up = At(node).parent;
    const auto along = tree == Tree::kSource ? up ^ 1 : up;
    ArcAt(along).residual -= flow;
    ArcAt(along ^ 1).residual += flow;
    const auto next = ArcAt(up).head;
    if (ArcAt(along).residual <= 0) MakeOrphan(node);
    node = next;
  }
  auto& terminal = At(node).terminal;
  terminal += tree == Tree::kSource ? -flow : flow;
  if (terminal == 0) MakeOrphan(node);
}

void MaxFlow::MakeOrphan(int32_t node) {
  At(node).parent = kOrphaned;
  orphans_.push_back(node);
}

void MaxFlow::Adopt() {
  while (!orphans_.empty()) {
    const auto orphan = orphans_.back();
    orphans_.pop_back();
    if (!FindParent(orphan)) SetFree(orphan);
  }
}

/// Takes the neighbour of the same tree that is nearest to the terminal for parent.
bool MaxFlow::FindParent(int32_t orphan) {
  const auto tree = At(orphan).tree;
  int32_t best = kNoParent;
  int32_t least = kUnreachable;
  for (auto arc = At(orphan).first_arc; arc >= 0; arc = ArcAt(arc).next) {
    // Flow must be able to run from the parent, outward, to here.
    if (Outward(arc ^ 1, tree) <= 0) continue;
    const auto other = ArcAt(arc).head;
    if (At(other).tree != tree) continue;
    const auto distance = DistanceToTerminal(other);
    if (distance >= least) continue;
    least = distance;
    best = arc;
  }
  if (best == kNoParent) return false;
  At(orphan).parent = best;
  At(orphan).distance = least + 1;
  At(orphan).time = time_;
  return true;
}

/// Arcs to the terminal, or kUnreachable below an orphan. What is found is marked with this time, so that
/// the next search along the same way is short.
int32_t MaxFlow::DistanceToTerminal(int32_t node) {
  int32_t steps = 0;
  auto at = node;
  while (At(at).time != time_ && At(at).parent >= 0) {
    at = ArcAt(At(at).parent).head;
    ++steps;
  }
  // Marks of this time hold: only what hangs below an orphan is cut off, and no mark was set there.
  if (At(at).parent == kOrphaned || At(at).parent == kNoParent) return kUnreachable;
  if (At(at).parent == kTerminalParent && At(at).time != time_) {
    At(at).time = time_;
    At(at).distance = 1;
  }
  const auto distance = At(at).distance + steps;
  auto left = distance;
  for (at = node; At(at).time != time_; at = ArcAt(At(at).parent).head) {
    At(at).time = time_;
    At(at).distance = left--;
  }
  return distance;
}

void MaxFlow::SetFree(int32_t orphan) {
  const auto tree = At(orphan).tree;
  for (auto arc = At(orphan).first_arc; arc >= 0; arc = ArcAt(arc).next) {
    const auto other = ArcAt(arc).head;
    if (At(other).tree != tree || At(other).parent == kNoParent) continue;
    // A neighbour that could reach this node grows again.
    if (Outward(arc ^ 1, tree) > 0) Activate(other);
    if (At(other).parent >= 0 && ArcAt(At(other).parent).head == orphan) MakeOrphan(other);
  }
  At(orphan).tree = Tree::kNone;
  At(orphan).parent = kNoParent;
}

}  // namespace torchvid
