#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace torchvid {

/// A layer's settings as they stand in the graph's JSON.
using Attribute = std::variant<bool, double, std::string, std::vector<int64_t>>;

/// How a parameter starts: a distribution's name and its number (standard deviation, bound or value).
struct Init {
  std::string distribution;
  double value = 0;
};

/// One layer. `name` is unique in the graph and the state_dict prefix of its parameters.
struct Node {
  std::string op;
  std::string name;
  std::vector<std::string> inputs;
  std::map<std::string, Attribute> attributes;
  std::map<std::string, Init> init;
  /// Its parameters are never trained.
  bool frozen = false;
};

/// One input; a dimension of -1 is free.
struct GraphInput {
  std::string name;
  std::vector<int64_t> shape;
};

/// A network as data: nodes in an order in which every input comes before its use.
struct Graph {
  std::vector<GraphInput> inputs;
  std::vector<Node> nodes;
  /// output name -> node name
  std::vector<std::pair<std::string, std::string>> outputs;
};

/// Typed reading of one node's attributes. What was never asked for is reported by CheckAllUsed.
class AttributeReader {
 public:
  explicit AttributeReader(const Node& node) : node_(node) {}

  int64_t Integer(const std::string& key, int64_t fallback, int64_t minimum = 0);
  int64_t RequiredInteger(const std::string& key, int64_t minimum = 1);
  double Number(const std::string& key, double fallback);
  bool Flag(const std::string& key, bool fallback);
  std::string Text(const std::string& key, const std::string& fallback);
  /// A list; one number stands for `size` equal ones.
  std::vector<int64_t> List(const std::string& key, size_t size, int64_t fallback, int64_t minimum = 0);
  /// A list of any length, required.
  std::vector<int64_t> RequiredList(const std::string& key, int64_t minimum = 1);
  bool Has(const std::string& key) const { return node_.attributes.count(key) > 0; }
  bool IsText(const std::string& key) const;
  /// Throws ERR_INVALID_ARGUMENT for a key that no one asked for: a typing error in a graph is never silent.
  void CheckAllUsed() const;

 private:
  const Attribute* Find(const std::string& key);
  [[noreturn]] void Fail(const std::string& key, const std::string& wanted) const;

  const Node& node_;
  std::set<std::string> used_;
};

/// "layer 'conv1' (conv)": how errors name a node.
std::string Describe(const Node& node);

}  // namespace torchvid
