"""Click an object in a video and get its mask on every frame."""
