"""Write files and read JSON. Can a killed run leave half a file? Which JSON is refused?"""
