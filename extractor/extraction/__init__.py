"""What an extraction asks for, what that means, and the features of one video in this process."""
