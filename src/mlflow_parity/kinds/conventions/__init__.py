"""What is written into data by convention: places of copies, names of images and attachments, versions' profiles."""
