#pragma once

#include <functional>

/// Whether a stream (a cudaStream_t) records; then `work`, unless it is empty, becomes part of its graph.
extern "C" bool StandinRecord(void* stream, std::function<void()> work);
