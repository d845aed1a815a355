package node

// Version is the version of this build; releases set it with the linker.
var Version = "0.1.0-dev"
