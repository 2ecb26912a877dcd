#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace torchvid {

/// Maximum flow, and with it a minimum cut, by Boykov and Kolmogorov's algorithm (PAMI 2004): a tree of
/// unsaturated arcs grows from the source and another from the sink; where they touch, flow is pushed along
/// the path, and what it cuts off looks for a new parent. Fast on the shallow, regular graphs of pictures.
/// Nothing recurses; memory is 32 bytes a node and 32 an edge.
class MaxFlow {
 public:
  /// `edges`: how many will be added, about.
  MaxFlow(int32_t nodes, int32_t edges);

  /// Capacity from the source to `node` and from `node` to the sink, at least 0. Adds up.
  void AddTerminal(int32_t node, double from_source, double to_sink);
  /// Capacity from `a` to `b` and back, at least 0.
  void AddEdge(int32_t a, int32_t b, double forward, double backward);
  /// The maximum flow's value. Once only. Throws Cancelled.
  double Solve();
  /// After Solve: whether a minimum cut leaves `node` with the source. A node that could be with either is
  /// not.
  bool WithSource(int32_t node) const { return nodes_[static_cast<size_t>(node)].tree == Tree::kSource; }

 private:
  enum class Tree : uint8_t { kNone, kSource, kSink };

  struct Node {
    /// Residual capacity from the source, or, when negative, to the sink.
    double terminal = 0;
    int32_t first_arc = -1;
    /// The arc to the parent, or one of the marks in max_flow.cc.
    int32_t parent = -1;
    /// As of `time`: arcs to the terminal.
    int32_t distance = 0;
    int32_t time = 0;
    Tree tree = Tree::kNone;
    bool active = false;
  };

  /// Arcs stand in pairs: that of number i ^ 1 runs the other way.
  struct Arc {
    double residual = 0;
    int32_t head = 0;
    int32_t next = -1;
  };

  Node& At(int32_t node) { return nodes_[static_cast<size_t>(node)]; }
  Arc& ArcAt(int32_t arc) { return arcs_[static_cast<size_t>(arc)]; }
  /// What `arc` can still carry in the direction in which its tree's flow runs: away from the source, or
  /// towards the sink.
  double Outward(int32_t arc, Tree tree) { return ArcAt(tree == Tree::kSource ? arc : arc ^ 1).residual; }

  void PlantTrees();
  void Activate(int32_t node);
  int32_t NextActive();
  int32_t Grow(int32_t node);
  void Augment(int32_t bridge);
  double Bottleneck(int32_t node, Tree tree);
  void Push(int32_t node, Tree tree, double flow);
  void MakeOrphan(int32_t node);
  void Adopt();
  bool FindParent(int32_t orphan);
  int32_t DistanceToTerminal(int32_t node);
  void SetFree(int32_t orphan);

  std::vector<Node> nodes_;
  std::vector<Arc> arcs_;
  std::vector<int32_t> active_;
  std::vector<int32_t> active_next_;
  size_t active_at_ = 0;
  std::vector<int32_t> orphans_;
  int32_t time_ = 0;
  double flow_ = 0;
};

}  // namespace torchvid
