"""Write files, and read JSON and tensors. Can a killed run leave half a file? Which JSON is refused?"""
