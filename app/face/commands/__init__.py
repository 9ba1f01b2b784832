"""The commands of the command line, a file each; imports of weight in their bodies."""
