{
  # The addon is built by CMake (CMakeLists.txt); this file lets tools that only know node-gyp build it too.
  "targets": [
    {
      "target_name": "torchvid_cmake",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build/Release/torchvid.node"],
          "action": ["node", "scripts/node-gyp-cmake.mjs"]
        }
      ]
    }
  ]
}
