#pragma once

namespace torchvid {

/// Makes std::cout and std::cerr usable for the engine and LibTorch, whose warnings go there. Node's
/// executable has copies of these objects, and libstdc++ initialised those alone; opened with RTLD_DEEPBIND,
/// the engine and LibTorch see libstdc++'s own, and a first word to them would crash the process. Does
/// nothing where there is one object only.
void UseHostStreams();

}  // namespace torchvid
