#include "core/graph/graph.h"

#include <cmath>

#include "core/error.h"

namespace torchvid {

namespace {

/// A whole number from a JSON number, or nothing.
bool AsInteger(const Attribute& attribute, int64_t* out) {
  const auto* number = std::get_if<double>(&attribute);
  if (number == nullptr || std::floor(*number) != *number || std::abs(*number) > 9e15) return false;
  *out = static_cast<int64_t>(*number);
  return true;
}

}  // namespace

std::string Describe(const Node& node) { return "layer '" + node.name + "' (" + node.op + ")"; }

const Attribute* AttributeReader::Find(const std::string& key) {
  used_.insert(key);
  const auto found = node_.attributes.find(key);
  return found == node_.attributes.end() ? nullptr : &found->second;
}

void AttributeReader::Fail(const std::string& key, const std::string& wanted) const {
  throw InvalidArgument(Describe(node_) + ": attribute '" + key + "' must be " + wanted + ".");
}

int64_t AttributeReader::Integer(const std::string& key, int64_t fallback, int64_t minimum) {
  const auto* attribute = Find(key);
  if (attribute == nullptr) return fallback;
  int64_t value = 0;
  if (!AsInteger(*attribute, &value) || value < minimum) {
    Fail(key, "a whole number of at least " + std::to_string(minimum));
  }
  return value;
}

int64_t AttributeReader::RequiredInteger(const std::string& key, int64_t minimum) {
  if (Find(key) == nullptr) Fail(key, "given: a whole number of at least " + std::to_string(minimum));
  return Integer(key, 0, minimum);
}

double AttributeReader::Number(const std::string& key, double fallback) {
  const auto* attribute = Find(key);
  if (attribute == nullptr) return fallback;
  const auto* value = std::get_if<double>(attribute);
  if (value == nullptr || !std::isfinite(*value)) Fail(key, "a finite number");
  return *value;
}

bool AttributeReader::Flag(const std::string& key, bool fallback) {
  const auto* attribute = Find(key);
  if (attribute == nullptr) return fallback;
  const auto* value = std::get_if<bool>(attribute);
  if (value == nullptr) Fail(key, "true or false");
  return *value;
}

std::string AttributeReader::Text(const std::string& key, const std::string& fallback) {
  const auto* attribute = Find(key);
  if (attribute == nullptr) return fallback;
  const auto* value = std::get_if<std::string>(attribute);
  if (value == nullptr) Fail(key, "a text");
  return *value;
}

bool AttributeReader::IsText(const std::string& key) const {
  const auto found = node_.attributes.find(key);
  return found != node_.attributes.end() && std::holds_alternative<std::string>(found->second);
}

std::vector<int64_t> AttributeReader::List(const std::string& key, size_t size, int64_t fallback,
                                           int64_t minimum) {
  const auto* attribute = Find(key);
  if (attribute == nullptr) return std::vector<int64_t>(size, fallback);
  int64_t single = 0;
  if (AsInteger(*attribute, &single) && single >= minimum) return std::vector<int64_t>(size, single);
  const auto* list = std::get_if<std::vector<int64_t>>(attribute);
  const std::string wanted = "a whole number of at least " + std::to_string(minimum) + ", or a list of " +
                             std::to_string(size) + " of them";
  if (list == nullptr || list->size() != size) Fail(key, wanted);
  for (const auto value : *list) {
    if (value < minimum) Fail(key, wanted);
  }
  return *list;
}

std::vector<int64_t> AttributeReader::RequiredList(const std::string& key, int64_t minimum) {
  const auto* attribute = Find(key);
  const auto* list = attribute == nullptr ? nullptr : std::get_if<std::vector<int64_t>>(attribute);
  if (list == nullptr || list->empty()) Fail(key, "given: a list of whole numbers");
  return List(key, list->size(), 0, minimum);
}

void AttributeReader::CheckAllUsed() const {
  for (const auto& [key, value] : node_.attributes) {
    if (used_.count(key) == 0) {
      throw InvalidArgument(Describe(node_) + ": attribute '" + key + "' is not one that this layer has.");
    }
  }
}

}  // namespace torchvid
