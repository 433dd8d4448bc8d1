// The translation unit that holds the precompiled header of torch/torch.h (see folders.cmake).
