// The translation unit that holds the precompiled header of LibTorch (see folders.cmake).
