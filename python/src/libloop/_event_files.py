"""Files for the asyncio event loop."""
class FileOperations:
    pass
